"""Defenses over all settings as a sheet: a row for each defense and metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.formats.sheet import Cell, Entry, Number, Sheet, listing
from clipfed_bench.report.overall.ranks import FEW, critical_difference, friedman, nemenyi
from clipfed_bench.report.overall.scores import Scores, names, scored
from clipfed_bench.report.overall.standing import Standing, standings
from clipfed_bench.report.tables.admissible import MARGIN, References, references
from clipfed_bench.report.tables.axes import Record
from clipfed_bench.report.tables.footnotes import meaning, of_cells
from clipfed_bench.report.tables.paired import ALIKE
from clipfed_bench.report.tables.signs import LOW
from clipfed_bench.report.tables.statistics import LEVEL, RESAMPLES
from clipfed_bench.report.tables.table import to_records
from clipfed_bench.runs.metric_catalog import find_metrics
from clipfed_bench.runs.metrics import MAIN, Metric

_HEADS = ("mean", f"{100 * LEVEL:g} % interval", "rank", "P", "its interval", "worst", "under")


def overall(
    results: pd.DataFrame,
    metrics: Sequence[str] = MAIN,
    decimals: int = 2,
    against: str | None = None,
    admissible: float = MARGIN,
) -> Sheet:
    """Every defense over all settings that all of them have run, by each of ``metrics``, by rank.

    ``against`` is the defense that improvement is over: FedAvg if it is there, else the first, if not given. Marked are
    defenses whose MTA, over their cells, is more than ``admissible`` points below FedAvg's (as in tables); the best
    rank is that of the others. Raises UserError as :func:`.scores.scored`, and for an ``against`` that is not
    there.
    """
    records, shown = to_records(results), find_metrics(metrics)
    known, lacking = scored(records, shown)
    judged = references(records, admissible)
    low = _low(records, judged)
    rows: list[tuple[Entry, ...]] = []
    numbers: list[dict[str, Any]] = []
    for own in known:
        found = sorted(standings(own, against), key=lambda standing: standing.rank)
        best = min((standing.rank for standing in found if standing.defense not in low), default=0.0)
        rows += [_row(own.metric, each, decimals, each.defense in low, best) for each in found]
        numbers += [_record(own.metric, each) | {"admissible": each.defense not in low} for each in found]
    notes = dict.fromkeys(note for own in known for note in _notes(own))
    return listing(
        "Defenses over all settings",
        ("metric", "defense", *_HEADS),
        2,
        rows,
        (
            *(meaning(shown, records), *_legend(numbers[0]["against"]), *judged.notes(bool(low))),
            *(*notes, *lacking, *of_cells(records, ALIKE)),
        ),
        numbers,
    )


def _low(records: Sequence[Record], judged: References) -> set[str]:
    """The defenses that are not admissible."""
    name, cells = names(records), dict[str, list[Record]]()
    for record in records:
        cells.setdefault(name(record), []).append(record)
    return {defense for defense, own in cells.items() if judged.judge(own) is False}


def _row(metric: Metric, own: Standing, decimals: int, low: bool, best: float) -> tuple[Entry, ...]:
    bounds = ", ".join(metric.text(bound, decimals) for bound in own.interval)
    better = f"{own.improvement:.2f}", f"[{', '.join(f'{bound:.2f}' for bound in own.improvement_interval)}]"
    rank = Number(f"{own.rank:.2f}", best=own.rank == best and not low, mark=LOW * low)
    texts = (
        *(("–", "–") if own.defense == own.against else better),
        *(metric.text(own.worst, decimals), own.under),
    )
    lead = Number(metric.text(own.mean, decimals)), Number(f"[{bounds}]"), rank
    return metric.label, own.defense, *(Cell((number,)) for number in (*lead, *map(Number, texts)))


def _record(metric: Metric, own: Standing) -> dict[str, Any]:
    bounds = {"low": own.interval[0], "high": own.interval[1]}
    better = {"improvement_low": own.improvement_interval[0], "improvement_high": own.improvement_interval[1]}
    same = ("defense", "mean", "rank", "against", "improvement", "worst", "under")
    return {"metric": metric.name, **{name: getattr(own, name) for name in same}, **bounds, **better}


def _legend(base: str) -> Iterator[str]:
    yield (
        f"Mean over settings of the means over seeds, with its stratified bootstrap interval ({100 * LEVEL:g} %, "
        f"{RESAMPLES:,} resamples of the seeds of each setting). Rank: mean of the settings, 1 is best."
    )
    yield (
        f"P: probability that the defense does better than {base} in a setting drawn at random, ties half (Agarwal et "
        "al. 2021), with its interval. Worst: of the means by attack."
    )


def _notes(known: Scores) -> Iterator[str]:
    """What the numbers of one metric are of, and whether defenses differ by it."""
    label, settings = known.metric.label, len(known.attacks)
    seeds = sorted({len(values) for values in next(iter(known.values.values()))})
    counts = "–".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    left = f"; {known.left_out} that not all defenses have run are left out" if known.left_out else ""
    idle = f"; {known.idle} without an attack that works are left out" if known.idle else ""
    yield f"{label}: {settings} settings with {counts} seed{'s' * (seeds[-1] > 1)} each{left}{idle}."
    p = friedman(known)
    if p is None:
        return
    rough = f"; with {settings} settings its distribution is a rough one" if settings <= FEW else ""
    text = f"{label}: Friedman's test of equal ranks p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}{rough}."
    yield f"{text} Critical difference of ranks (Nemenyi, {1 - LEVEL:.2g}): {critical_difference(known):.2f}."
    try:
        yield _pairs(known)
    except UserError as error:  # the library is not there
        yield str(error)


def _pairs(known: Scores) -> str:
    """Which pairs Nemenyi's test tells apart."""
    values, found = nemenyi(known).to_numpy(), list(known.values)
    apart = [f"{found[i]} and {found[j]}" for i, j in combinations(range(len(found)), 2) if values[i, j] < 1 - LEVEL]
    return f"{known.metric.label}: Nemenyi's test tells apart {', '.join(apart) or 'no pair'}."
