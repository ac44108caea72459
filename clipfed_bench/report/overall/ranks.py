"""Mean ranks of defenses over settings, and whether they differ: Friedman's test, then Nemenyi's for pairs.

Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006, Sections 3.2.2 and 3.2.4: settings
are his data sets, with means over seeds; equal ones share the mean of their ranks. Two defenses differ where their mean
ranks are further apart than the critical difference. Deviations: none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.overall.scores import Scores
from clipfed_bench.report.tables.statistics import LEVEL

if TYPE_CHECKING:
    import pandas as pd

FEW = 10
"""Settings up to which Demšar calls the chi-squared distribution of Friedman's statistic a rough one."""


def mean_ranks(scores: Scores) -> dict[str, float]:
    """Defense -> its rank, 1 the best, mean of the settings."""
    from scipy.stats import rankdata

    ranks = rankdata(-scores.sign * scores.means(), axis=1)
    return dict(zip(scores.values, map(float, ranks.mean(axis=0)), strict=True))


def friedman(scores: Scores) -> float | None:
    """p value of Friedman's test that defenses rank alike; None for fewer than three, or if all figures are equal."""
    from scipy.stats import friedmanchisquare

    means = scores.means()
    if means.shape[1] < 3 or bool((means == means[:, :1]).all()):
        return None
    return float(friedmanchisquare(*means.T).pvalue)


def nemenyi(scores: Scores) -> pd.DataFrame:
    """(defenses, defenses) p values of Nemenyi's test, rows and columns numbered in the order of ``scores.values``.

    Raises UserError where scikit-posthocs is not installed, and for fewer than three defenses.
    """
    if len(scores.values) < 3:
        raise UserError(f"Nemenyi's test compares three defenses or more; here are {len(scores.values)}.")
    found: pd.DataFrame = posthocs().posthoc_nemenyi_friedman(-scores.sign * scores.means())
    return found


def critical_difference(scores: Scores, level: float = LEVEL) -> float:
    """How far apart mean ranks have to be: q sqrt(k (k + 1) / 6 N), q of the studentized range over sqrt(2)."""
    from scipy.stats import studentized_range

    settings, defenses = scores.means().shape
    q = float(studentized_range.ppf(level, defenses, np.inf)) / math.sqrt(2)
    return q * math.sqrt(defenses * (defenses + 1) / (6 * settings))


def posthocs() -> Any:
    """The library of post-hoc tests. Raises UserError where it is not installed."""
    try:
        import scikit_posthocs
    except ImportError:
        raise UserError(
            "Nemenyi's test and critical-difference diagrams need scikit-posthocs, which is not installed: "
            "pip install 'clipfed-bench[stats]'."
        ) from None
    return scikit_posthocs
