"""Two defenses on the same seeds: paired differences in each setting, with intervals and p values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from clipfed_bench.config.words import heading, label
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.formats.sheet import Sheet, listing
from clipfed_bench.report.tables.axes import Record, ranks
from clipfed_bench.report.tables.footnotes import meaning, of_cells
from clipfed_bench.report.tables.paired import ALIKE, Setting, cells_of, setting
from clipfed_bench.report.tables.statistics import LEVEL, Paired, compare_paired, enough, holm, smallest_p
from clipfed_bench.report.tables.table import to_records
from clipfed_bench.runs.metric_catalog import find_metrics
from clipfed_bench.runs.metrics import MAIN, Metric

_USUAL = ("attack", "alpha", "degree")
"""Shown even where they do not vary, as in tables."""

_NUMBERS = ("n", "mean_a", "mean_b", "difference", "std", "low", "high", "p_t", "p_sign_flip")
"""Columns of the CSV; then come the p values corrected for all rows, ``p_t_holm`` and ``p_sign_flip_holm``."""

Pairs = list[tuple[Record, Record]]


def compare_defenses(results: pd.DataFrame, a: str, b: str, metrics: Sequence[str] = MAIN, decimals: int = 2) -> Sheet:
    """Defense ``a`` minus defense ``b`` in each setting of ``results``, over the seeds for which both are done.

    A setting is everything but the defense, the seed, and what the defense determines (teacher, server data); where
    held-out server images take data away from clients, they do so for both or the cells are no pair. Raises UserError
    for defenses that are not in the results, that are the same, or that have no seed in common, and for unknown
    metrics.
    """
    shown = find_metrics(metrics)
    records = to_records(results)
    first, second = cells_of(records, a), cells_of(records, b)
    name, other = first[0]["defense"], second[0]["defense"]
    if name == other:
        raise UserError(f"'{a}' and '{b}' are the same defense; name two.")
    groups, alone = _pair(first, second)
    if not groups:
        raise UserError(f"{name} and {other} have no setting and seed in common for which both are done.")
    used = [record for pairs in groups.values() for pair in pairs for record in pair]
    varying = [axis for axis in ALIKE if axis not in _USUAL and len({record[axis] for record in used}) > 1]
    axes = (*varying, *(axis for axis in _USUAL if any(record[axis] is not None for record in used)))
    places = sorted(groups, key=lambda place: ranks(place[ALIKE.index(axis)] for axis in axes))
    lines: list[tuple[dict[str, Any], Metric, Paired | None]] = []
    for place in places:
        values = {axis: place[ALIKE.index(axis)] for axis in axes}
        for metric in shown:
            both = [(one.get(metric.name), two.get(metric.name)) for one, two in groups[place]]
            pairs = [(x, y) for x, y in both if x is not None and y is not None]
            found = compare_paired([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None
            lines.append((values, metric, found))
    by_t = holm([found.p_t if found else None for *_, found in lines])
    by_flip = holm([found.p_sign if found else None for *_, found in lines])
    rows, numbers = [], []
    for (values, metric, found), p_t, p_flip in zip(lines, by_t, by_flip, strict=True):
        rows.append((*map(label, values.values()), metric.label, *_texts(found, metric, decimals), _p(p_t), _p(p_flip)))
        tests = {**_numbers(found), "p_t_holm": p_t, "p_sign_flip_holm": p_flip}
        numbers.append({**values, "metric": metric.name, "a": name, "b": other, **tests})
    most = max((found.n for *_, found in lines if found), default=0)
    headings = (*map(heading, axes), "metric", "n", name, other, "diff.", f"{100 * LEVEL:g} % interval")
    return listing(
        f"{name} minus {other}",
        (*headings, "p (t)", "p (flip)"),
        len(axes) + 1,
        rows,
        (
            meaning(shown, records) + " Shares in per cent, their differences in percentage points.",
            f"Diff.: {name} minus {other}, paired by seed; mean over the n seeds for which both are done, and its "
            "Student t interval.",
            "p: two-sided, of the paired t test (t) and the sign-flip permutation test (flip), each corrected for all "
            "rows that have one (Holm); CSV has them as they were, too.",
            *_caution(most),
            *([f"Left out: {alone} setting{'s' * (alone > 1)} that one of the two has no seed for."] if alone else []),
            *of_cells(used, axes),
        ),
        numbers,
    )


def _pair(first: Sequence[Record], second: Sequence[Record]) -> tuple[Mapping[Setting, Pairs], int]:
    """The pairs of each setting, and the number of settings that have none."""
    partners = {(setting(record), record["seed"]): record for record in second if record["status"] == "done"}
    groups: defaultdict[Setting, Pairs] = defaultdict(list)
    for record in sorted(first, key=lambda record: record["seed"]):
        partner = partners.get((setting(record), record["seed"]))
        if record["status"] == "done" and partner is not None:
            groups[setting(record)].append((record, partner))
    return groups, len({setting(record) for record in (*first, *second)} - groups.keys())


def _texts(found: Paired | None, metric: Metric, decimals: int) -> tuple[str, ...]:
    if found is None:
        return ("0", *["–"] * 4)
    mean_a, mean_b = (metric.text(mean, decimals) for mean in (found.mean_a, found.mean_b))
    bounds = "–"
    if found.interval is not None:
        bounds = f"[{', '.join(metric.text(bound, decimals) for bound in found.interval)}]"
    difference = f"{metric.scale * found.difference:+.{decimals}f}"
    return str(found.n), mean_a, mean_b, difference, bounds


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _numbers(found: Paired | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(_NUMBERS) | {"n": 0}
    means = found.n, found.mean_a, found.mean_b, found.difference, found.std
    return dict(zip(_NUMBERS, (*means, *(found.interval or (None, None)), found.p_t, found.p_sign), strict=True))


def _caution(n: int) -> list[str]:
    """Where the sign-flip test could not reach the level even if all seeds agreed."""
    if n >= enough() or n == 0:
        return []
    if n == 1:
        return ["n is 1: a difference of one seed says nothing of chance."]
    return [
        f"n is too small to judge by: with {n} seeds the sign-flip test cannot come below p = {smallest_p(n):g}, and "
        f"{enough()} are needed for {1 - LEVEL:.2g}; the t test rests on {n} differences being normal."
    ]
