"""Median and trimmed mean against Flower and ByzFL."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, case
from libraries import FLOWERS, ByzFL
from makers.updates import ROUND, SERVER, numpy

from baselines import median, trimmed_mean

SEEDS = range(CASES)


def check(ours: np.ndarray, theirs: np.ndarray, points: np.ndarray, trimmed: int) -> None:
    """Equal to a float32 rounding of the result and float64 roundings of what it is the mean of."""
    inner = np.sort(points, axis=0)[trimmed : len(points) - trimmed]
    slack = 1e-7 * np.abs(theirs) + 1e-14 * np.abs(inner).max(axis=0) + 1.5e-45
    assert (np.abs(ours - theirs) <= slack).all(), (ours, theirs)


@pytest.mark.parametrize("library", [*FLOWERS, "byzfl"])
@pytest.mark.parametrize("seed", SEEDS)
def test_median(seed, library):
    given = case(seed)
    ours = median.Median(median.Config(), SERVER).aggregate(given.updates, ROUND)
    theirs = FLOWERS.get(library, ByzFL()).median(given.points)
    check(numpy(ours.delta), theirs, given.points, (given.clients - 1) // 2)


@pytest.mark.parametrize("library", [*FLOWERS, "byzfl"])
@pytest.mark.parametrize("seed", SEEDS)
def test_trimmed_mean(seed, library):
    given = case(seed)
    count = min(given.assumed, (given.clients - 1) // 2)  # one has to be left
    defense = trimmed_mean.TrimmedMean(trimmed_mean.Config(count / given.clients), SERVER)
    ours = defense.aggregate(given.updates, ROUND)
    assert ours.info["trimmed_each_side"] == count
    if library == "byzfl":
        theirs = ByzFL().trimmed_mean(given.points, count)
    else:  # Flower takes a share, and cuts count / clients * clients off, which may be a last bit below count
        theirs = FLOWERS[library].trimmed_mean(given.points, (count + 0.25) / given.clients)
    check(numpy(ours.delta), theirs, given.points, count)
