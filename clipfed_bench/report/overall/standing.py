"""Where each defense stands over all settings, by one metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipfed_bench.core.errors import unknown
from clipfed_bench.report.overall.bootstrap import improvement, improvement_interval, mean, mean_interval
from clipfed_bench.report.overall.ranks import mean_ranks
from clipfed_bench.report.overall.scores import Floats, Scores
from clipfed_bench.report.tables.statistics import Interval


@dataclass(frozen=True)
class Standing:
    """One defense by one metric, figures as stored."""

    defense: str
    mean: float
    """Over settings, of means over seeds."""
    interval: Interval
    rank: float
    """Mean of the settings; 1 is best."""
    against: str
    """The defense that ``improvement`` is over."""
    improvement: float
    """Probability of doing better in a setting drawn at random, in [0, 1]."""
    improvement_interval: Interval
    worst: float
    """Of the means by attack."""
    under: str
    """The attack of that."""


def standings(known: Scores, against: str | None = None) -> list[Standing]:
    """In the order of ``known``. ``against``: FedAvg if it is there, else the first, if not given.

    Raises UserError for one that is not there.
    """
    if against is not None and against not in known.values:
        raise unknown("defense of this run", against, known.values)
    base = against or ("fedavg" if "fedavg" in known.values else next(iter(known.values)))
    ranks, theirs = mean_ranks(known), known.values[base]
    return [
        Standing(
            name, mean(values), mean_interval(values), ranks[name],
            base, improvement(values, theirs, known.sign), improvement_interval(values, theirs, known.sign),
            *_worst(known, values),
        )
        for name, values in known.values.items()
    ]  # fmt: skip


def _worst(known: Scores, values: Sequence[Floats]) -> tuple[float, str]:
    """The worst mean of an attack's settings, and the attack."""
    by_attack: dict[str, list[float]] = {}
    for found, attack in zip(values, known.attacks, strict=True):
        by_attack.setdefault(attack, []).append(float(found.mean()))
    means = {attack: float(np.mean(found)) for attack, found in by_attack.items()}
    worst = min(means, key=lambda attack: known.sign * means[attack])
    return means[worst], worst
