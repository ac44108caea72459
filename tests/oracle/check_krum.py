"""Krum and Multi-Krum against Flower and ByzFL: the same clients, but for ties, and the same aggregate."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from cases import CASES, Case, case
from libraries import FLOWERS, ByzFL
from makers.updates import ROUND, SERVER, numpy

from baselines import krum, multi_krum
from clipfed_bench.toolbox.distances import pairwise_squared_distances

SEEDS = range(CASES)


class KrumOfOneMore(krum.Krum):
    """Ours with ByzFL's n - f - 1 neighbors: those of f - 1."""

    def __init__(self, assumed: int, clients: int) -> None:
        super().__init__(krum.Config(0.0), SERVER)
        self.malicious = (assumed - 1) / clients


class MultiKrumOfOneMore(KrumOfOneMore, multi_krum.MultiKrum):
    """And still n - f clients."""

    def selected(self, clients: int, malicious: int) -> int:
        return super().selected(clients, malicious + 1)


def choices(scores: np.ndarray, count: int, rounding: float) -> Iterator[list[int]]:
    """All sets of ``count`` clients with the best scores that differ by ties; first the one of the lowest ids."""
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    last = scores[order[count - 1]]
    slack = 1e-8 * abs(last) + rounding
    yield sorted(order[:count])
    sure = [i for i in order if scores[i] < last - slack]
    tied = [i for i in order if abs(scores[i] - last) <= slack]
    for more in combinations(tied, count - len(sure)):
        yield sorted([*sure, *more])


def check(theirs: np.ndarray, defense: krum.Krum, given: Case, weighted: bool, rounding: float = 0.0) -> bool:
    """Ours is the choice of the lowest ids, theirs one of the choices; whether it is the same.

    ``weighted``: their mean is by samples, of which ours knows nothing.
    """
    updates, points = given.updates, given.points
    ours = defense.aggregate(updates, ROUND)
    assumed = krum.malicious_count(defense.malicious, given.clients)
    scores = numpy(krum.round_significant(krum.krum_scores(pairwise_squared_distances(updates.deltas), assumed)))
    kept = ours.kept.nonzero().flatten().tolist()
    possible = choices(scores, len(kept), rounding)
    first = next(possible)
    assert kept == first
    scale = np.abs(points[kept]).max()
    np.testing.assert_allclose(numpy(ours.delta), points[kept].mean(axis=0), rtol=1e-6, atol=1e-6 * scale)
    for chosen in (first, *possible):
        weights = given.samples[chosen] if weighted else np.ones(len(chosen))
        mean = weights @ points[chosen] / weights.sum()
        if np.allclose(theirs, mean, rtol=1e-12, atol=1e-12 * np.abs(points[chosen]).max()):
            return chosen == first
    raise AssertionError(f"{given.kind}: theirs is no mean of {len(kept)} best; ours are {kept}, scores {scores}")


def gram_rounding(given: Case, flower: str) -> float:
    """How far a score can be off where distances are differences of squares of whole models."""
    largest = (given.points**2).sum(axis=1).max()
    return 1e-14 * largest * given.clients if flower == "flwr.serverapp" else 0.0


@pytest.mark.parametrize("flower", FLOWERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_krum_of_flower(seed, flower):
    given = case(seed)
    theirs = FLOWERS[flower].krum(given.points, given.samples, given.assumed)
    defense = krum.Krum(krum.Config(given.share), SERVER)
    same = check(theirs, defense, given, weighted=False, rounding=gram_rounding(given, flower))
    assert same or flower == "flwr.serverapp"  # ties go to the first client in the other one, too


@pytest.mark.parametrize("flower", FLOWERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_multi_krum_of_flower(seed, flower):
    given = case(seed)
    kept = max(given.clients - given.assumed, 1)
    theirs = FLOWERS[flower].krum(given.points, given.samples, given.assumed, kept)
    defense = multi_krum.MultiKrum(multi_krum.Config(given.share), SERVER)
    check(theirs, defense, given, weighted=True, rounding=gram_rounding(given, flower))


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")  # ByzFL's score of a single client
@pytest.mark.parametrize("seed", SEEDS)
def test_krum_of_byzfl(seed):
    given = case(seed)
    assumed = min(given.assumed, (given.clients - 1) // 2)  # it refuses more
    defense = KrumOfOneMore(assumed, given.clients)
    check(ByzFL().krum(given.points, assumed), defense, given, weighted=False)


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@pytest.mark.parametrize("seed", SEEDS)
def test_multi_krum_of_byzfl(seed):
    given = case(seed)
    assumed = min(given.assumed, (given.clients - 1) // 2)
    defense = MultiKrumOfOneMore(assumed, given.clients)
    check(ByzFL().multi_krum(given.points, assumed), defense, given, weighted=False)
