"""Statistics over seeds: means, spreads, intervals, and two defenses compared on the same seeds.

Seeds are few and their figures not normal, so nothing here is a verdict: :class:`Paired` says where n is too small for
a test to find anything. Values are as stored (fractions); undefined figures (NaN) must be left out before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
"""Confidence level of intervals [ours]."""

RESAMPLES = 10_000
"""Resamples of a bootstrap interval [ours]."""

_EXACT = 14
"""Up to this many differences the sign-flip test goes through all 2^n signs; beyond, through 2^14 random ones."""

Interval = tuple[float, float]
"""Lower and upper bound."""


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Student's interval for the mean, symmetric; None for fewer than two values.

    It assumes values from a normal distribution, and can leave [0, 1] where shares are near its ends.
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # a quantile of the t distribution; scipy.stats takes long to import

    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def bootstrap_interval(
    values: Sequence[float], level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval for the mean, seeded [ours]; None for fewer than two values.

    It never leaves the range of the values, and is too narrow for few of them.
    """
    if len(values) < 2:
        return None
    stream = np.random.default_rng(seed)
    drawn = stream.choice(np.asarray(values, dtype=np.float64), size=(resamples, len(values)))
    low, high = np.quantile(drawn.mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """One figure of two defenses, A and B, over the seeds that both have."""

    n: int
    """Seeds."""
    mean_a: float
    mean_b: float
    difference: float
    """Mean of A - B."""
    std: float | None
    """Sample standard deviation of the differences, of at least two seeds."""
    interval: Interval | None
    """Student's interval for the mean difference, of at least two seeds."""
    p_t: float | None
    """Two-sided p value of the paired t test; None for fewer than two seeds, or differences that are all the same."""
    p_sign: float
    """Two-sided p value of the sign-flip permutation test; never below :func:`smallest_p`."""


def compare_paired(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Paired:
    """Compare ``a`` with ``b``, figures of the same seeds in the same order; at least one."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    n = len(differences)
    return Paired(
        n,
        fmean(a),
        fmean(b),
        fmean(differences),
        stdev(differences) if n > 1 else None,
        t_interval(differences, level),
        t_test(differences),
        sign_flip(differences),
    )


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p value of the mean of ``differences`` if each could as well have had the other sign.

    Exact for up to 14 of them: the share of all 2^n signs whose mean is at least as far from 0. For more, a random
    sample of signs, seeded, that counts the observed one in [ours].
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    signs: npt.NDArray[np.float64]
    if n <= _EXACT:
        signs = np.array([[1 - 2 * (i >> k & 1) for k in range(n)] for i in range(2**n)], dtype=np.float64)
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(2**_EXACT, n))
        signs[0] = 1.0
    observed = abs(values.sum())
    # Sums of equal terms in another order differ in their last bits.
    return float(np.mean(np.abs(signs @ values) >= observed - 1e-9 * np.abs(values).sum()))


def smallest_p(n: int) -> float:
    """The smallest p value that the sign-flip test of ``n`` differences can have: all of one sign."""
    return 2.0 ** (1 - n if n <= _EXACT else -_EXACT)


def enough(level: float = LEVEL) -> int:
    """The smallest number of seeds with which the sign-flip test can reach the ``level``."""
    return math.ceil(1 - math.log2(1 - level) - 1e-9)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values of tests that are read together, corrected (Holm 1979); None, where there was no test, stays and counts
    for nothing.

    The i-th smallest of m is multiplied by m - i + 1, and none may be below one before it, or above 1.
    """
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    found: list[float | None] = [None] * len(values)
    highest = 0.0
    for i, (value, place) in enumerate(order):
        highest = max(highest, min(1.0, value * (len(order) - i)))
        found[place] = highest
    return found


def t_test(differences: Sequence[float]) -> float | None:
    """Two-sided p value of the paired t test; None for fewer than two ``differences``, or if all are the same."""
    n = len(differences)
    if n < 2 or max(differences) - min(differences) <= 1e-12 * max(map(abs, differences)):
        return None
    from scipy.special import stdtr

    statistic = fmean(differences) / (stdev(differences) / math.sqrt(n))
    return float(2 * stdtr(n - 1, -abs(statistic)))
