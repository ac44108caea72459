"""RFA against a slow Weiszfeld on the updates themselves, and its effect."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, random_deltas, updates_of

from baselines.rfa import RFA, Config
from clipfed_bench.core.errors import UserError


def weiszfeld(points, sizes, steps, smoothing):
    """Pillutla et al., Algorithm 2, from the mean: (v, the last weights, of sum 1)."""
    alpha = [n / sum(sizes) for n in sizes]
    weights = alpha
    for step in range(steps + 1):
        v = sum(w * p for w, p in zip(weights, points, strict=True))
        if step < steps:
            beta = [a / max(smoothing, math.sqrt(((v - p) ** 2).sum())) for a, p in zip(alpha, points, strict=True)]
            weights = [b / sum(beta) for b in beta]
    return v, weights


@pytest.mark.parametrize(("steps", "smoothing"), [(0, 1e-6), (1, 1e-6), (4, 1e-6), (30, 1e-6), (4, 25.0)])
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_rfa_equals_algorithm_2(count, steps, smoothing):
    sizes = np.random.default_rng(count).integers(1, 500, count)
    updates = updates_of(random_deltas(count, count), samples=sizes)
    result = RFA(Config(steps, smoothing), SERVER).aggregate(updates, ROUND)
    expected, weights = weiszfeld(numpy(updates.deltas), sizes, steps, smoothing)
    np.testing.assert_allclose(numpy(result.delta), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numpy(result.buffers), weights @ numpy(updates.buffers), rtol=1e-5)
    assert result.info == {"rfa_largest_share": pytest.approx(max(weights), rel=1e-5)}
    assert result.kept is None


def test_rfa_comes_to_the_point_of_the_smallest_sum_of_distances():
    draw = np.random.default_rng(0)
    updates = updates_of(draw.normal(size=(7, 3)))
    points = numpy(updates.deltas)
    found = numpy(RFA(Config(steps=500), SERVER).aggregate(updates, ROUND).delta)

    def total(v):
        return np.linalg.norm(points - v, axis=1).sum()

    assert all(total(found) <= total(found + 1e-3 * draw.normal(size=3)) for _ in range(50))


def test_rfa_stays_with_the_benign_clients_however_far_the_others_are():
    draw = np.random.default_rng(1)
    benign = draw.normal(size=(8, 200)) + 5
    for distance in (1e2, 1e5, 1e10):
        deltas = np.concatenate([np.full((2, 200), -distance), benign])
        found = numpy(RFA(Config(steps=30), SERVER).aggregate(updates_of(deltas), ROUND).delta)
        assert np.linalg.norm(found - benign.mean(axis=0)) < 0.1 * np.linalg.norm(benign.mean(axis=0))


def test_each_step_brings_the_aggregate_nearer_by_the_factor_that_is_documented():
    """Two of ten clients far away: the mean is at a fifth of the way, and each step at about a quarter of it."""
    deltas = np.concatenate([np.full((2, 1), 1e9), np.zeros((8, 1))])
    deltas[2:, 0] = np.linspace(-1, 1, 8)
    way = [float(RFA(Config(steps=s), SERVER).aggregate(updates_of(deltas), ROUND).delta) for s in range(8)]
    assert way[0] == pytest.approx(2e8)
    assert [b / a for a, b in pairwise(way[3:])] == pytest.approx([0.25] * 4, rel=0.01)


def test_rfa_of_a_majority_of_equal_updates_is_that_update():
    deltas = np.concatenate([np.ones((4, 5)), [[9.0] * 5, [-7.0] * 5, [3.0] * 5]])
    found = RFA(Config(steps=60), SERVER).aggregate(updates_of(deltas), ROUND).delta
    torch.testing.assert_close(found, torch.ones(5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "text"), [(Config(steps=-1), "rfa: steps -1"), (Config(smoothing=0.0), "rfa: smoothing 0.0")]
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        RFA(config, SERVER)
