"""RFA, centered clipping, nearest-neighbor mixing and bucketing against ByzFL."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import CASES, KINDS, case
from libraries import ByzFL
from makers.updates import ROUND, SERVER, numpy, updates_of

from baselines import bucketing, centered_clip, nnm, rfa

SEEDS = [seed for seed in range(CASES) if KINDS[seed % len(KINDS)] != "far"]
"""Of updates near each other and far from zero ByzFL loses in its sums what tells them apart."""


def check(ours: np.ndarray, theirs: np.ndarray, points: np.ndarray) -> None:
    """Equal to some float32 roundings of the largest value."""
    assert np.abs(ours - theirs).max(initial=0) <= 3e-6 * np.abs(points).max(initial=0), (ours, theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_geometric_median(seed):
    given, steps = case(seed), seed % 7
    points = (given.points - given.points.mean(axis=0)).astype(np.float32).astype(float)
    points[-1] -= points.sum(axis=0)  # as near to a mean of zero as float32 allows
    smoothing = 1e-3 * np.abs(points).max() + 1e-35
    ours = rfa.RFA(rfa.Config(steps, smoothing), SERVER).aggregate(updates_of(points), ROUND)
    check(numpy(ours.delta), ByzFL().geometric_median(points, steps, smoothing), points)


@pytest.mark.parametrize("seed", SEEDS)
def test_centered_clipping_over_rounds(seed):
    given, steps = case(seed), 1 + seed % 3
    rounds = [given.points, 2 * given.points[::-1], -0.5 * given.points]
    tau = float(np.linalg.norm(given.points, axis=1).mean()) + 1e-35
    defense = centered_clip.CenteredClip(centered_clip.Config(tau, steps), SERVER)
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = ByzFL().centered_clipping(rounds, tau, steps)
    for points, expected in zip(rounds, theirs, strict=True):
        found = numpy(defense.aggregate(updates_of(points), ROUND).delta)
        if np.isfinite(expected).all():
            check(found, expected, np.concatenate(rounds))


@pytest.mark.parametrize("seed", SEEDS)
def test_nearest_neighbor_mixing(seed):
    given = case(seed)
    apart = np.sort(np.linalg.norm(given.points[:, None] - given.points[None], axis=2), axis=1)
    count = given.clients - given.assumed
    if not 0 < count < given.clients or (apart[:, count] - apart[:, count - 1] <= 1e-6 * apart.max()).any():
        pytest.skip("neighbors tie, or there is no choice")
    mixed, _, _ = nnm.NNM(nnm.Config(malicious=given.share), SERVER).mixed(given.updates, ROUND)
    check(numpy(mixed.deltas), ByzFL().nearest_neighbor_mixing(given.points, given.assumed), given.points)


@pytest.mark.parametrize("seed", SEEDS)
def test_bucketing(seed):
    """Orders differ, so what all buckets add up to is compared, and all of it where a bucket holds one or everybody."""
    given, size = case(seed), 1 + seed % 4
    for s in (size, given.clients):
        mixed, parts, _ = bucketing.Bucketing(bucketing.Config(s=s), SERVER).mixed(given.updates, ROUND)
        theirs = ByzFL().bucketing(given.points, s)
        assert len(mixed) == len(theirs) == math.ceil(given.clients / s)
        members = np.full(len(theirs), s)
        members[-1] = given.clients - s * (len(theirs) - 1)
        assert parts.sum(dim=1).tolist() == members.tolist()
        check(members @ numpy(mixed.deltas) / given.clients, members @ theirs / given.clients, given.points)
