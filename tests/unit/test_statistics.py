"""Statistics over seeds against hand-computed values, SciPy's tests and full enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from clipfed_bench.report.tables.statistics import (
    bootstrap_interval,
    compare_paired,
    enough,
    holm,
    sign_flip,
    smallest_p,
    t_interval,
)

A = [0.70, 0.72, 0.74, 0.71, 0.69]
B = [0.60, 0.70, 0.66, 0.72, 0.61]


def test_t_interval_by_hand():
    low, high = t_interval([0.70, 0.72, 0.74])  # mean 0.72, s 0.02, t(0.975, 2) = 4.302653
    assert (low, high) == (pytest.approx(0.72 - 4.302653 * 0.02 / 3**0.5), pytest.approx(0.72 + 0.0496828, abs=1e-6))
    assert t_interval([0.70, 0.72, 0.74], 0.9)[1] == pytest.approx(0.72 + 2.919986 * 0.02 / 3**0.5)
    assert t_interval(A) == pytest.approx(stats.t.interval(0.95, 4, np.mean(A), stats.sem(A)))
    assert t_interval([0.5, 0.5]) == (0.5, 0.5)
    assert t_interval([0.5]) is None
    assert t_interval([]) is None


def test_bootstrap_of_two_values_is_known():
    # Resampled means are 0, 1/2 and 1 with probabilities 1/4, 1/2 and 1/4.
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], level=0.4) == (0.5, 0.5)
    assert bootstrap_interval([0.3]) is None


def test_bootstrap_quantiles_against_all_resamples():
    means = [np.mean(drawn) for drawn in itertools.product(A, repeat=5)]  # all 3125 of them
    low, high = bootstrap_interval(A)
    assert low == pytest.approx(np.quantile(means, 0.025), abs=0.002)
    assert high == pytest.approx(np.quantile(means, 0.975), abs=0.002)
    assert bootstrap_interval(A) == (low, high), "seeded"
    assert bootstrap_interval(A, seed=1, resamples=100) != (low, high)
    assert min(A) <= low < high <= max(A)


def test_paired_comparison():
    found = compare_paired(A, B)
    assert (found.n, found.mean_a, found.mean_b) == (5, pytest.approx(0.712), pytest.approx(0.658))
    assert found.difference == pytest.approx(0.054)
    assert found.std == pytest.approx(np.std(np.subtract(A, B), ddof=1))
    assert found.p_t == pytest.approx(stats.ttest_rel(A, B).pvalue)
    interval = stats.ttest_rel(A, B).confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high))
    # Differences 10, 2, 8, -1, 8 (per cent): sums of at least 27 are 29 and 27 and their negatives, 4 of 32.
    assert found.p_sign == 4 / 32


@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_sign_flip_is_scipys_exact_permutation_test(n):
    values = np.random.default_rng(n).normal(0.3, 1, n)
    oracle = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=10_000)
    assert sign_flip(values) == pytest.approx(oracle.pvalue)


def test_sign_flip_at_its_ends():
    assert sign_flip([0.1, 0.2, 0.3]) == 0.25 == smallest_p(3)
    assert sign_flip([0.1] * 6) == smallest_p(6) == 0.03125
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([0.1, -0.1]) == 1.0
    assert sign_flip([0.1 + 0.2, 0.3, -0.6]) == 1.0, "a sum that is 0 on paper"
    assert enough() == 6
    assert smallest_p(enough() - 1) > 0.05 > smallest_p(enough())
    assert enough(0.5) == 2
    assert enough(0.75) == 3


def test_sign_flip_of_many_is_sampled():
    values = np.random.default_rng(0).normal(0.4, 1, 30)
    assert sign_flip(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)
    assert sign_flip(values) == sign_flip(values)
    assert sign_flip([1.0] * 30) == smallest_p(30) == 2**-14, "never 0"


def test_too_few_seeds_and_no_variance_are_undefined_not_zero():
    one = compare_paired([0.7], [0.5])
    assert (one.n, one.std, one.interval, one.p_t, one.p_sign) == (1, None, None, None, 1.0)
    same = compare_paired([0.7, 0.8, 0.1 + 0.2], [0.6, 0.7, 0.2])
    assert same.difference == pytest.approx(0.1)
    assert same.p_t is None
    assert same.p_sign == 0.25
    equal = compare_paired([0.7, 0.8], [0.7, 0.8])
    assert (equal.difference, equal.p_t, equal.p_sign) == (0.0, None, 1.0)
    assert equal.interval == (0.0, 0.0)
    with pytest.raises(ValueError, match="shorter"):
        compare_paired([0.1, 0.2], [0.1])
    assert math.isclose(compare_paired([1.0, 0.0], [0.0, 0.0]).p_t, 0.5)


def test_holm_by_hand_and_as_statsmodels_has_it():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, None, 0.9]) == [0.8, None, 0.9]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    values = np.random.default_rng(0).uniform(0, 0.2, 9)
    assert holm(values) == pytest.approx(multitest.multipletests(values, method="holm")[1])
