"""Geometry against float64 loops written from the definitions, and where float32 or a careless center would fail."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfed_bench.toolbox import distances as geometry


def rows(seed, count, size, scale=1.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, size)) * scale).float()


def squared_reference(matrix):
    m = matrix.double().numpy()
    return np.array([[((a - b) ** 2).sum() for b in m] for a in m])


def cosine_reference(matrix):
    m = matrix.double().numpy()
    out = np.zeros((len(m), len(m)))
    for i, a in enumerate(m):
        for j, b in enumerate(m):
            na, nb = np.sqrt((a**2).sum()), np.sqrt((b**2).sum())
            out[i, j] = 0.0 if i == j or na == nb == 0 else 1.0 if 0 in (na, nb) else 1 - (a * b).sum() / na / nb
    return out


@pytest.mark.parametrize(("count", "size"), [(1, 5), (2, 1), (5, 33), (9, 100_003)])  # the last: several blocks
def test_distances_equal_the_definitions(count, size):
    matrix = rows(size, count, size)
    squared, cosine = geometry.pairwise_squared_distances(matrix), geometry.pairwise_cosine_distances(matrix)
    np.testing.assert_allclose(squared.numpy(), squared_reference(matrix), rtol=1e-12)
    np.testing.assert_allclose(cosine.numpy(), cosine_reference(matrix), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(geometry.row_norms(matrix).numpy() ** 2, (matrix.double() ** 2).sum(1).numpy())
    for result in (squared, cosine):
        assert result.dtype == torch.float64
        assert torch.equal(result, result.T)
        assert not result.diagonal().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_measured_is_left_alone(dtype):
    matrix = torch.tensor([[3.0, 1.0], [1.0, 1.0], [5.0, 2.0]], dtype=dtype)
    before = matrix.clone()
    geometry.pairwise_squared_distances(matrix)
    geometry.pairwise_cosine_distances(matrix)
    assert torch.equal(matrix, before)


def test_hand_made_distances():
    matrix = torch.tensor([[3.0, 4], [0, 0], [-6, -8], [4, -3], [0, 0]])
    squared = [[0, 25, 225, 50, 25], [25, 0, 100, 25, 0], [225, 100, 0, 125, 100], [50, 25, 125, 0, 25]]
    assert geometry.pairwise_squared_distances(matrix)[:4].tolist() == squared
    cosine = [[0, 1, 2, 1, 1], [1, 0, 1, 1, 0], [2, 1, 0, 1, 1], [1, 1, 1, 0, 1], [1, 0, 1, 1, 0]]
    assert geometry.pairwise_cosine_distances(matrix).tolist() == cosine
    assert geometry.row_norms(matrix).tolist() == [5, 0, 10, 5, 0]


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_squared_distances_stay_accurate_beside_a_huge_row_and_far_from_zero(far):
    matrix = rows(1, 6, 500) + far
    matrix[4] *= 1e15  # centering at the mean would leave nothing of the distances between the others
    np.testing.assert_allclose(
        geometry.pairwise_squared_distances(matrix).numpy(), squared_reference(matrix), rtol=1e-10
    )


def test_the_extremes_of_float32_neither_overflow_nor_vanish():
    matrix = torch.tensor([[3e38, 3e38], [-3e38, 3e38], [1e-38, 2e-38]])
    np.testing.assert_allclose(geometry.pairwise_squared_distances(matrix).numpy(), squared_reference(matrix))
    np.testing.assert_allclose(geometry.pairwise_cosine_distances(matrix).numpy(), cosine_reference(matrix), atol=1e-12)
    assert geometry.median(matrix[[0, 0]]).isfinite().all()


def test_identical_rows_are_at_distance_exactly_zero_wherever_they_stand():
    for count in (7, 10, 13, 14):  # a BLAS treats the last rows of some of these unlike the others
        matrix = rows(2, count, 3001)
        matrix[-1] = matrix[1]
        for distances in (geometry.pairwise_squared_distances, geometry.pairwise_cosine_distances):
            assert distances(matrix)[1, -1] == 0
            assert (distances(matrix) == 0).sum() == count + 2
    assert geometry.pairwise_cosine_distances(torch.stack([matrix[0], 4 * matrix[0]]))[0, 1] == 0


def test_one_differing_weight_is_not_rounded_away():
    matrix = torch.ones(3, 10_000)
    matrix[1, 7] += 1e-3
    assert geometry.pairwise_squared_distances(matrix)[0, 1].item() == pytest.approx(1e-6, rel=1e-3)


@given(st.integers(1, 12), st.integers(0, 2**31), st.booleans())
@settings(max_examples=80, deadline=None)
def test_median_and_trimmed_mean_equal_numpy_columns(count, seed, tied):
    generator = np.random.default_rng(seed)
    values = generator.integers(-2, 3, (count, 4, 3)) if tied else generator.normal(size=(count, 4, 3))
    matrix = torch.from_numpy(values.astype(np.float32))
    before = matrix.clone()
    expected = np.median(matrix.numpy().astype(np.float64), axis=0)
    np.testing.assert_allclose(geometry.median(matrix).numpy(), expected, rtol=1e-6, atol=1e-7)
    for trim in range((count + 1) // 2):
        expected = [np.mean(sorted(c)[trim : count - trim]) for c in matrix.flatten(1).T.double().tolist()]
        result = geometry.trimmed_mean(matrix, trim)
        np.testing.assert_allclose(result.flatten().numpy(), expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(result, geometry.trimmed_mean(matrix[torch.from_numpy(generator.permutation(count))], trim))
        assert result.dtype == matrix.dtype
    assert torch.equal(matrix, before)


@pytest.mark.parametrize("count", [*range(1, 15), 31, 50, 64, 65, 100])
def test_rows_are_sorted_whatever_they_hold(count):
    """What sorts all columns of zeros and ones sorts everything (Knuth, 5.3.4, Theorem Z). Larger ones: samples."""
    if count < 15:
        matrix = (torch.arange(2**count) >> torch.arange(count)[:, None] & 1).float()
    else:
        matrix = rows(count, count, 2000)
    expected = matrix.sort(dim=0).values
    for trim in range((count + 1) // 2):
        inner = expected[trim : count - trim].double().mean(dim=0).float()
        assert torch.equal(geometry.trimmed_mean(matrix, trim), inner)


def test_median_over_several_blocks_and_of_nothing():
    matrix = rows(3, 4, 150_000)
    np.testing.assert_allclose(geometry.median(matrix).numpy(), np.median(matrix.numpy(), axis=0), rtol=1e-6)
    assert geometry.median(torch.zeros(3, 0)).shape == (0,)
    assert geometry.median(torch.tensor([4.0, 1, 2, 9])) == 3  # torch.median says 2


@pytest.mark.parametrize(("count", "trim"), [(1, 1), (4, 2), (5, 3), (3, -1)])
def test_trimming_everything_is_refused(count, trim):
    with pytest.raises(ValueError, match="leaves nothing"):
        geometry.trimmed_mean(torch.zeros(count, 2), trim)


def test_round_significant_is_relative_and_merges_rounding_errors():
    values = torch.tensor([1e-30, 0.1, 1.0, 12345.678, 3e70, 0.0, -0.7], dtype=torch.float64)
    rounded = geometry.round_significant(values)
    np.testing.assert_allclose(rounded.numpy(), values.numpy(), rtol=1e-9)
    assert torch.equal(rounded, geometry.round_significant(values * (1 + 1e-15)))
    assert torch.equal(rounded, geometry.round_significant(values * (1 - 1e-15)))
    assert (rounded != geometry.round_significant(values * (1 + 1e-8)))[values != 0].all()
