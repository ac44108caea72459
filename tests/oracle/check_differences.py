"""Where the libraries differ by definition: a test for each sentence of README.md."""

from __future__ import annotations

import byzfl
import numpy as np
import pytest
import torch
from libraries import FLOWERS, ByzFL, Flower
from makers.updates import ROUND, SERVER, numpy, updates_of

from baselines import krum, median, multi_krum, trimmed_mean

LINE = np.array([[0.0], [1], [2], [3], [7], [23], [23]])
"""Seven clients with one parameter. With f = 1, Krum's four nearest choose the 3; five choose the 7."""
ONES = np.ones(len(LINE), dtype=np.int64)
LARGE = np.full((2, 3), 3e38, dtype=np.float32)


def ours(points, malicious, clients=None):
    """Krum's update."""
    updates = updates_of(points, clients=clients)
    return numpy(krum.Krum(krum.Config(malicious), SERVER).aggregate(updates, ROUND).delta)


def near_each_other_far_from_zero(seed, clients=30, size=50):
    """Models as clients send them, float32: updates of a thousandth on parameters of about 3."""
    draw = np.random.default_rng(seed)
    return (3 * draw.normal(size=size) + 0.001 * draw.normal(size=(clients, size))).astype(np.float32)


def test_byzfl_counts_one_neighbor_more():
    assert ours(LINE, 1 / 7).item() == FLOWERS["flwr.server"].krum(LINE, ONES, 1).item() == 3
    assert ByzFL().krum(LINE, 1).item() == 7


@pytest.mark.parametrize("flower", FLOWERS)
def test_flower_weighs_multi_krum_by_samples(flower):
    samples = np.array([1, 1, 1, 1, 6, 1, 1])
    result = multi_krum.MultiKrum(multi_krum.Config(2 / 7), SERVER).aggregate(updates_of(LINE, samples=samples), ROUND)
    assert result.kept.tolist() == [True] * 5 + [False] * 2
    assert result.delta.item() == pytest.approx((0 + 1 + 2 + 3 + 7) / 5)
    assert FLOWERS[flower].krum(LINE, samples, 2, 5).item() == pytest.approx((0 + 1 + 2 + 3 + 6 * 7) / 10)


@pytest.mark.parametrize("flower", FLOWERS)
def test_ties_go_to_the_first_client_in_flower_and_to_the_lowest_id_here(flower):
    square = np.array([[0.0, 1], [1, 0], [0, -1], [-1, 0]])
    assert FLOWERS[flower].krum(square, ONES[:4], 0).tolist() == [0, 1]
    assert ours(square, 0.0, clients=(9, 4, 6, 5)).tolist() == [1, 0]


def test_which_of_tied_clients_byzfl_averages_is_open():
    square = np.array([[0.0, 1], [1, 0], [0, -1], [-1, 0]])
    theirs = ByzFL().multi_krum(square, 1)
    assert any(np.allclose(theirs, np.delete(square, i, axis=0).mean(axis=0)) for i in range(4))


def test_byzfl_refuses_half_of_the_clients_and_flower_and_ours_do_not():
    four = LINE[:4]
    with pytest.raises(ValueError, match="2f"):
        ByzFL().krum(four, 2)
    assert ours(four, 0.49).item() == FLOWERS["flwr.server"].krum(four, ONES[:4], 2).item() == 0  # one neighbor


def test_byzfl_scores_a_single_client_by_a_mean_of_nothing():
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"), pytest.warns(RuntimeWarning, match="invalid value"):
        assert ByzFL().krum(LINE[4:5], 0).item() == 7
    assert ours(LINE[4:5], 0.0).item() == 7


def test_of_tensors_byzfl_computes_in_float32_and_may_choose_another():
    other = 0
    for seed in range(40):
        models = near_each_other_far_from_zero(seed)
        other += not np.array_equal(byzfl.Krum(2)(torch.from_numpy(models)), byzfl.Krum(2)(models.astype(np.float64)))
    assert other > 20
    assert byzfl.Krum(2)(torch.zeros(5, 2, dtype=torch.float64)).dtype == torch.float32


def test_flowers_message_strategies_take_squares_of_whole_models_and_may_choose_another():
    ones = np.ones(30, dtype=np.int64)
    other = 0
    for seed in range(40):
        models = near_each_other_far_from_zero(seed)
        chosen = FLOWERS["flwr.server"].krum(models, ones, 2)
        np.testing.assert_array_equal(chosen, FLOWERS["flwr.server"].krum(models.astype(np.float64), ones, 2))
        other += not np.array_equal(chosen, FLOWERS["flwr.serverapp"].krum(models, ones, 2))
    assert other > 20


def test_updates_that_differ_by_float32_roundings_are_equal_here_and_not_in_flower():
    points = np.array([[0, 0], [0, 0.001], [1e6, 0], [1e6, 0.002]])  # 1e6 in float32 is within 0.06
    assert FLOWERS["flwr.server"].krum(points, ONES[:4], 1).tolist() == [0, 0]
    assert ours(points, 0.25).tolist() == [1e6, 0]


@pytest.mark.parametrize(("beta", "clients", "theirs", "here"), [(0.29, 100, 28, 29), (0.2, 4, 0, 1)])
@pytest.mark.parametrize("flower", FLOWERS)
def test_flower_cuts_beta_n_by_its_last_bit_and_may_trim_nothing(flower, beta, clients, theirs, here):
    points = np.arange(clients, dtype=np.float64)[:, None] ** 2
    result = trimmed_mean.TrimmedMean(trimmed_mean.Config(beta), SERVER).aggregate(updates_of(points), ROUND)
    assert result.info["trimmed_each_side"] == here
    assert result.delta.item() == pytest.approx(points[here : clients - here].mean(), rel=1e-6)
    assert FLOWERS[flower].trimmed_mean(points, beta).item() == points[theirs : clients - theirs].mean()


@pytest.mark.filterwarnings("ignore:overflow")
def test_means_of_large_float32_values_overflow_in_the_libraries():
    for library in (*FLOWERS.values(), ByzFL()):
        assert np.isinf(library.median(LARGE)).all()
        assert np.isinf(library.trimmed_mean(LARGE, 0)).all()
    updates = updates_of(LARGE)
    for defense in (
        median.Median(median.Config(), SERVER),
        trimmed_mean.TrimmedMean(trimmed_mean.Config(0.0), SERVER),
    ):
        np.testing.assert_allclose(numpy(defense.aggregate(updates, ROUND).delta), LARGE[0], rtol=1e-6)


def test_flower_averages_as_many_as_it_is_told_and_ours_n_minus_f():
    assert Flower().krum(LINE, ONES, 1).item() == 3  # by default one
    kept = multi_krum.MultiKrum(multi_krum.Config(1 / 7), SERVER).aggregate(updates_of(LINE), ROUND).kept
    assert kept.sum() == 6
