"""Stratified bootstrap intervals and the probability of improvement, over settings and seeds.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021, Section 4, as
their library rliable has them: settings are tasks, seeds are runs. A resample draws as many seeds as there are, with
replacement, in each setting by itself (the strata) and for each defense by itself, and the interval is that of the
percentiles. Deviations: means instead of interquartile means, which would leave out the hardest settings and the
easiest; nothing is made of seeds being paired, so that intervals are rather too wide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipfed_bench.report.overall.scores import Floats
from clipfed_bench.report.tables.statistics import LEVEL, RESAMPLES, Interval


def mean(values: Sequence[Floats]) -> float:
    """Mean over settings of the means over seeds: ``values`` are (S,) figures for each setting."""
    return float(np.mean([found.mean() for found in values]))


def mean_interval(
    values: Sequence[Floats], seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """Of :func:`mean`; seeded [ours]."""
    stream = np.random.default_rng(seed)
    drawn = [stream.choice(found, (resamples, len(found))).mean(axis=1) for found in values]
    return _percentiles(np.mean(drawn, axis=0), level)


def improvement(x: Sequence[Floats], y: Sequence[Floats], sign: float) -> float:
    """Probability that a run of X does better than one of Y in a setting drawn at random; ties count half.

    Mann-Whitney's statistic over its maximum, mean of the settings. ``sign`` is 1 where higher is better, else -1.
    """
    return float(np.mean([_better(sign * a[None], sign * b[None])[0] for a, b in zip(x, y, strict=True)]))


def improvement_interval(
    x: Sequence[Floats],
    y: Sequence[Floats],
    sign: float,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Of :func:`improvement`; seeded [ours]."""
    stream = np.random.default_rng(seed)
    drawn = [
        _better(*(sign * stream.choice(found, (resamples, len(found))) for found in pair))
        for pair in zip(x, y, strict=True)
    ]
    return _percentiles(np.mean(drawn, axis=0), level)


def _better(x: Floats, y: Floats) -> Floats:
    """(R,) shares of the pairs of (R, S) and (R, T) in which x is higher."""
    a, b = x[:, :, None], y[:, None, :]
    return np.asarray(((a > b) + 0.5 * (a == b)).mean(axis=(1, 2)), dtype=np.float64)


def _percentiles(values: Floats, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
