"""Tables of results: means and spreads over seeds, the best defense of each row, and what the cells have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.report.tables.admissible import MARGIN, references
from clipfed_bench.report.tables.axes import AXES, Record, choose, ranks, refuse_duplicates
from clipfed_bench.report.tables.doubts import doubts, scene, working
from clipfed_bench.report.tables.footnotes import notes, of_updates
from clipfed_bench.report.tables.marked import BOUND, FEWER, bounded, corrected, mark_best
from clipfed_bench.report.tables.model import Entry, Number, Place, Table
from clipfed_bench.report.tables.paired import differences
from clipfed_bench.report.tables.statistics import bootstrap_interval, t_interval
from clipfed_bench.runs.metric_catalog import find_metrics
from clipfed_bench.runs.metrics import MAIN, Metric

SPREADS = ("std", "ci", "bootstrap", "range", "none")
"""What can stand beside a mean: sample standard deviation, Student's t interval, percentile bootstrap interval (both
95 %), smallest and largest value, or nothing."""


def table(
    results: pd.DataFrame,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] = ("defense",),
    metrics: Sequence[str] = MAIN,
    decimals: int = 2,
    spread: str = "std",
    against: str | None = None,
    admissible: float = MARGIN,
    bounds: bool = False,
) -> Table:
    """A table of ``results`` (see :meth:`clipfed_bench.runs.store.RunStore.frames`), averaged over seeds.

    ``rows`` and ``cols`` name settings; by default attack × alpha (or degree) by defense. Settings that vary and are in
    neither are added. Best are the highest MTA and the lowest ASR among defenses, each on its own, at ``decimals``, of
    those whose MTA is at most ``admissible`` points below FedAvg's (:mod:`.admissible`). ``spread`` is one of SPREADS;
    ``bounds`` puts the binomial bound beside shares of 0 (:mod:`.binomial`). With ``against``, a defense of the run, it
    shows what the others came to minus that one, paired by seed in each setting: mean and spread are those of the
    differences, and those are marked that a corrected test tells from 0. Raises UserError where there are no cells, for
    unknown names, and for cells that cannot be told apart.
    """
    if spread not in SPREADS:
        raise unknown("spread", spread, SPREADS)
    if not 0 <= decimals <= 6:
        raise UserError(f"decimals: {decimals} is out of range; it must be from 0 to 6.")
    shown = find_metrics(metrics)
    if not shown:
        raise UserError("a table needs at least one metric, e.g. mta.")
    records: Sequence[Record] = to_records(results)
    measured, doubted, works = of_updates(records), tuple(doubts(records)), working(records)
    judged = references(records, admissible)
    if against is not None:
        against, records = differences(records, against, metrics)
        shown = tuple(metric.difference() for metric in shown)
    left, top, added = choose(records, rows, cols)
    if not left or not top:
        raise UserError("a table needs at least one row axis and one column axis, e.g. rows attack, cols defense.")
    refuse_duplicates(records, (*left, *top))
    groups: defaultdict[Place, list[Record]] = defaultdict(list)
    for record in records:
        groups[tuple(record[name] for name in (*left, *top))].append(record)
    entries = {
        place: replace(_entry(group, shown, spread), works=works.get(scene(group[0])))
        for place, group in groups.items()
    }
    signs: tuple[str, ...] = ()
    if against is not None:
        entries, signs = corrected(entries, groups, shown)
    elif {"defense", "defense_name"} & {*left, *top}:
        entries = {place: replace(entry, admissible=judged.judge(groups[place])) for place, entry in entries.items()}
        signs = tuple(judged.notes(any(entry.admissible is False for entry in entries.values())))
    if bounds and against is None:
        entries = {place: bounded(entry, groups[place][0], shown) for place, entry in entries.items()}
        signs = (*signs, BOUND)
    entries = mark_best(entries, (*left, *top), shown, decimals)
    seeds = [entry.seeds for entry in entries.values()]
    made = Table(
        left,
        top,
        tuple(sorted({place[: len(left)] for place in groups}, key=ranks)),
        tuple(sorted({place[len(left) :] for place in groups}, key=ranks)),
        entries,
        shown,
        decimals,
        max(map(len, seeds)),
        (),
        spread,
        against,
    )
    signs = (*signs, *((FEWER,) if made.uneven else ()))
    said = notes(records, shown, (*left, *top), added, seeds, spread, against, signs, doubted)
    return replace(made, notes=(*said, *measured))


def to_records(results: pd.DataFrame) -> list[dict[str, Any]]:
    """A mapping for each cell of ``results``, None for what is not known. Raises UserError where there are none."""
    absent = [name for name in ("key", "status", *AXES) if name not in results]
    if absent:
        raise UserError(f"these are not the results of a run: there is no column {', '.join(absent)}.")
    if results.empty:
        raise UserError("there are no cells to make a table of.")
    return plain_records(results)


def plain_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A mapping for each row of ``frame``, None for what is not known."""
    known = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in record.items()} for record in known.to_dict("records")]


def _entry(group: Iterable[Record], metrics: Iterable[Metric], spread: str) -> Entry:
    done = sorted((record for record in group if record["status"] == "done"), key=lambda record: record["seed"])
    failed = sum(record["status"] != "done" for record in group)
    numbers = (
        over_seeds([v for record in done if (v := record.get(metric.name)) is not None], spread) for metric in metrics
    )
    return Entry(tuple(numbers) if done else (), tuple(record["seed"] for record in done), failed)


def over_seeds(values: Sequence[float], spread: str = "std") -> Number:
    """A figure of cells that differ in the seed alone; ``spread`` is one of SPREADS."""
    if len(values) < 2:
        return Number(fmean(values) if values else None, None, len(values))
    interval = None
    if spread == "range":
        interval = min(values), max(values)
    elif spread in ("ci", "bootstrap"):
        interval = (t_interval if spread == "ci" else bootstrap_interval)(values)
    return Number(fmean(values), stdev(values), len(values), interval=interval)
