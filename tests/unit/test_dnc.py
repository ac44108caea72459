"""DnC against a singular value decomposition in float64, its limits and its effect."""

import math

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, updates_of

from baselines.dnc import Config, DnC, outlier_scores
from clipfed_bench.api import RoundContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.rng import stream_seed


def reference(points, ids, malicious, config, context):
    """Shejwalkar and Houmansadr, Algorithm 2: rows that were good in each repetition, or else most often."""
    count, size = points.shape
    good = [0] * count
    for repetition in range(config.iterations):
        draw = np.random.default_rng(stream_seed(context.seed, "dnc", context.round, repetition))
        columns = draw.choice(size, min(config.coordinates, size), replace=False, shuffle=False)
        some = points[:, columns]
        centered = some - some.mean(axis=0)
        direction = np.linalg.svd(centered)[2][0]
        scores = [float(f"{(row @ direction) ** 2:.8e}") for row in centered]
        keep = max(count - math.ceil(config.filtering * malicious - 1e-9), 1)
        for row in sorted(range(count), key=lambda i: (scores[i], ids[i]))[:keep]:
            good[row] += 1
    return [row for row in range(count) if good[row] == max(good)]


@pytest.mark.parametrize(
    "config", [Config(), Config(0.3, 5, 30), Config(0.3, 3, 10, 1.5), Config(0.4, 8, 3), Config(0.2, 2, 30, 0.0)]
)
@pytest.mark.parametrize("count", [2, 5, 10])
def test_dnc_equals_algorithm_2(count, config):
    share = SERVER.assumed_malicious if config.malicious is None else config.malicious
    for seed in range(3):
        draw = np.random.default_rng([seed, count])
        ids = draw.permutation(100)[:count].tolist()
        updates = updates_of(draw.normal(size=(count, 60)) + draw.normal(size=60), ids)
        context = RoundContext(seed + 1, seed)
        result = DnC(config, SERVER).aggregate(updates, context)
        chosen = reference(numpy(updates.deltas), ids, math.ceil(share * count - 1e-9), config, context)
        assert result.kept.nonzero().flatten().tolist() == chosen
        np.testing.assert_allclose(
            numpy(result.delta), numpy(updates.deltas)[chosen].mean(axis=0), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(numpy(result.buffers), numpy(updates.buffers)[chosen].mean(axis=0), rtol=1e-6)
        assert result.info["dnc_kept"] == len(chosen)


@pytest.mark.parametrize(("count", "size"), [(1, 4), (2, 1), (6, 3), (5, 50)])
def test_scores_are_those_of_a_singular_value_decomposition(count, size):
    rows = np.random.default_rng(size).normal(size=(count, size)).astype(np.float32)
    centered = rows.astype(float) - rows.astype(float).mean(axis=0)
    expected = (centered @ np.linalg.svd(centered)[2][0]) ** 2
    np.testing.assert_allclose(outlier_scores(torch.from_numpy(rows)), expected, rtol=1e-9, atol=1e-12)


def test_equal_updates_have_no_scores():
    assert not outlier_scores(torch.full((7, 30), 0.1)).any()


def test_dnc_drops_colluders_who_stay_within_the_spread_of_each_coordinate():
    """As many as expected push together by one standard deviation, which no median of coordinates would notice."""
    draw = np.random.default_rng(0)
    deltas = draw.normal(size=(20, 3000))
    deltas[4:8] = deltas.mean(axis=0) + 0.9 * draw.choice([-1, 1], 3000)
    result = DnC(Config(), SERVER).aggregate(updates_of(deltas), ROUND)
    assert result.kept.tolist() == [True] * 4 + [False] * 4 + [True] * 12
    assert result.info == {"dnc_kept": 16, "dnc_always_good": 1}


def test_repetitions_that_drop_everybody_leave_those_that_were_good_most_often():
    updates = updates_of(np.eye(4))
    result = DnC(Config(0.4, iterations=40, coordinates=1, filtering=1.5), SERVER).aggregate(updates, ROUND)
    assert result.info["dnc_always_good"] == 0
    assert result.kept.any()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(malicious=0.5), r"dnc: malicious 0\.5"),
        (Config(iterations=0), "dnc: iterations 0"),
        (Config(coordinates=0), "dnc: coordinates 0"),
        (Config(filtering=-1.0), r"dnc: filtering -1\.0"),
    ],
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        DnC(config, SERVER)
