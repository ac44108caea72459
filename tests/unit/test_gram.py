"""Products in float32 come to what float64 makes of them, wherever rows are near, the same, huge, tiny or zero."""

from __future__ import annotations

import pytest
import torch

from clipfed_bench.toolbox import gram as module
from clipfed_bench.toolbox.distances import pairwise_cosine_distances, pairwise_squared_distances
from clipfed_bench.toolbox.gram import double_gram, gram, single_gram

COLUMNS = 9000  # more than two blocks


@pytest.fixture
def rows():
    """Twelve rows around a common direction, among them twins and near ones."""
    stream = torch.Generator().manual_seed(1)
    common, own = torch.randn(COLUMNS, generator=stream), torch.randn(12, COLUMNS, generator=stream)
    matrix = 0.01 * (common + own)
    matrix[7] = matrix[2]
    matrix[9] = matrix[4] + 1e-6 * own[9]
    return matrix


def squared(products):
    square = products.diagonal()
    return square[:, None] + square[None, :] - 2 * products


@pytest.mark.parametrize("center", [None, torch.tensor([3])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_squared_distances_are_right_to_some_millionths(rows, center, dtype):
    rows = rows.to(dtype)
    exact = rows.double() if center is None else rows.double() - rows.double()[center]
    expected = torch.cdist(exact, exact, compute_mode="donot_use_mm_for_euclid_dist").square()
    found = squared(single_gram(rows, center))
    assert (found - expected).abs().le(5e-6 * expected + 1e-15 * exact.square().sum()).all()
    assert found[2, 7] == 0


def test_what_is_near_is_multiplied_in_float64(rows):
    ours, exact = single_gram(rows), double_gram(rows)
    near = [2, 4, 7, 9]
    assert torch.equal(ours[near][:, near], double_gram(rows[near]))
    assert not torch.equal(ours, exact)
    assert torch.allclose(ours, exact, rtol=1e-6)


def test_twins_are_at_one_distance_from_everybody(rows):
    products = single_gram(rows)
    assert torch.equal(products[2], products[7])
    assert torch.equal(products, products.T)


@pytest.mark.parametrize("factor", [1e25, 1e-25])
def test_squares_that_float32_cannot_hold_are_float64(rows, factor):
    rows[5] *= factor
    assert torch.equal(single_gram(rows), double_gram(rows))


def test_rows_of_zeros(rows):
    rows[[0, 1]] = 0
    assert torch.equal(single_gram(rows), double_gram(rows))


def test_the_matrix_stays_as_it_was(rows):
    before = rows.clone()
    single_gram(rows, torch.tensor([3]))
    double_gram(rows, torch.tensor([3]))
    assert torch.equal(rows, before)


def test_large_products_alone_are_float32(rows, monkeypatch):
    assert torch.equal(gram(rows), double_gram(rows))
    monkeypatch.setattr(module, "LARGE", len(rows) ** 2 * COLUMNS)
    assert torch.equal(gram(rows), single_gram(rows))
    assert torch.equal(gram(rows.double()), double_gram(rows.double()))


def test_distances_of_large_matrices_are_those_of_small_ones(rows, monkeypatch):
    exact = pairwise_squared_distances(rows), pairwise_cosine_distances(rows)
    monkeypatch.setattr(module, "LARGE", 0)
    for ours, theirs in zip((pairwise_squared_distances(rows), pairwise_cosine_distances(rows)), exact, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=0)
        assert ours[2, 7] == 0
