"""Bulyan against a slow float64 reference written from its paper, its limits and its effect."""

import math

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, updates_of

from baselines.bulyan import Bulyan, Config, sizes
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.distances import mean_around_median


def krum_choice(points, left, malicious, ids):
    """Of the clients in ``left`` the one with the smallest sum of squared distances to its nearest others."""
    neighbors = max(len(left) - malicious - 2, 1)
    scores = []
    for i in left:
        others = sorted(((points[i] - points[j]) ** 2).sum() for j in left if j != i)
        scores.append((float(f"{sum(others[:neighbors]):.8e}"), ids[i], i))
    return min(scores)[2]


def around_median(values, count):
    """Mean of the ``count`` nearest to the median, the smaller of two that are equally near."""
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return sum(sorted(ordered, key=lambda x: (abs(x - middle), x))[:count]) / count


def reference(points, malicious, ids):
    """El Mhamdi et al.: θ = n - 2f selected by Krum one by one, then β = θ - 2f around each median."""
    left = list(range(len(points)))
    theta = max(len(points) - 2 * malicious, 1)
    for _ in range(theta):
        left.remove(krum_choice(points, left, malicious, ids))
    chosen = [i for i in range(len(points)) if i not in left]
    beta = theta - 2 * malicious
    if beta < 1:
        beta = 1 if theta % 2 else 2
    return chosen, np.array([around_median(points[chosen, j], beta) for j in range(points.shape[1])])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 11, 13])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.4])
def test_bulyan_equals_the_paper(count, share):
    malicious = math.ceil(share * count - 1e-9)
    for seed in range(3):
        draw = np.random.default_rng([seed, count])
        ids = draw.permutation(100)[:count].tolist()
        updates = updates_of(draw.normal(size=(count, 25)), ids, buffers=draw.normal(size=(count, 3)))
        result = Bulyan(Config(share), SERVER).aggregate(updates, ROUND)
        chosen, expected = reference(numpy(updates.deltas), malicious, ids)
        assert result.kept.nonzero().flatten().tolist() == chosen
        np.testing.assert_allclose(numpy(result.delta), expected, rtol=1e-5, atol=1e-6)
        beta = sizes(count, malicious)[1]
        columns = numpy(updates.buffers)[chosen].T
        np.testing.assert_allclose(numpy(result.buffers), [around_median(c, beta) for c in columns], rtol=1e-5)
        assert result.info["bulyan_guarantee"] == float(count >= 4 * malicious + 3)


@pytest.mark.parametrize(
    ("clients", "malicious", "expected"),
    [
        (11, 2, (7, 3)),
        (10, 2, (6, 2)),
        (10, 0, (10, 10)),
        (8, 2, (4, 2)),
        (7, 2, (3, 1)),
        (4, 2, (1, 1)),
        (1, 1, (1, 1)),
    ],
)
def test_sizes_at_and_below_the_guarantee(clients, malicious, expected):
    assert sizes(clients, malicious) == expected


@pytest.mark.parametrize("count", range(1, 8))
def test_mean_around_median_with_ties(count):
    draw = np.random.default_rng(count)
    values = draw.integers(-3, 4, (7, 400)).astype(np.float32)
    expected = [around_median(column, count) for column in values.T.tolist()]
    np.testing.assert_allclose(mean_around_median(torch.from_numpy(values), count), expected, rtol=1e-6, atol=1e-7)
    rows = torch.tensor([6, 0, 3, 2, 5, 1, 4])[:count]
    expected = [around_median(column, count) for column in values[rows.numpy()].T.tolist()]
    some = mean_around_median(torch.from_numpy(values), count, rows)
    np.testing.assert_allclose(some, expected, rtol=1e-6, atol=1e-7)


def test_bulyan_excludes_one_coordinate_that_krum_does_not_see():
    """The attack of its paper: an update near all others in distance, and far from them in one coordinate."""
    draw = np.random.default_rng(0)
    deltas = draw.normal(size=(11, 400))
    deltas[:2] = deltas[2:].mean(axis=0)
    deltas[:2, 0] += 12  # of a usual distance of about 28
    updates = updates_of(deltas)
    result = Bulyan(Config(2 / 11), SERVER).aggregate(updates, ROUND)
    assert result.kept[:2].any()
    assert abs(float(result.delta[0])) < 1
    assert abs(numpy(updates.deltas)[result.kept.numpy(), 0].mean()) > 1  # what Multi-Krum's mean would be


def test_a_share_that_is_none_says_what_is_right():
    with pytest.raises(UserError, match=r"bulyan: malicious 0\.5"):
        Bulyan(Config(malicious=0.5), SERVER)
