"""Tables of results: means and spreads over seeds, the best defense of each row, and what the cells have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from clipfed_bench.config.words import SPEAKING, heading, label
from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.report.tables.axes import AXES, OF_DEFENSE, Record, choose, ranks, refuse_duplicates
from clipfed_bench.report.tables.footnotes import notes, of_updates
from clipfed_bench.report.tables.paired import differences
from clipfed_bench.report.tables.statistics import Interval, bootstrap_interval, t_interval
from clipfed_bench.runs.metrics import MAIN, Metric, find_metrics

Place = tuple[Any, ...]

SPREADS = ("std", "ci", "bootstrap", "range", "none")
"""What can stand beside a mean: sample standard deviation, Student's t interval, percentile bootstrap interval (both
95 %), smallest and largest value, or nothing."""


@dataclass(frozen=True)
class Number:
    """A metric over the seeds of a place. ``mean`` and ``std`` are as stored (fractions), None where undefined."""

    mean: float | None
    std: float | None
    """Sample standard deviation, of at least two seeds."""
    n: int
    """Seeds for which the metric is defined."""
    best: bool = False
    interval: Interval | None = None
    """The table's spread where that is an interval, of at least two seeds."""


NOTHING = Number(None, None, 0)
"""Of a place without a cell that is done."""


@dataclass(frozen=True)
class Entry:
    """One place of a table: a number for each metric (none if no cell is done), and its cells by outcome."""

    numbers: tuple[Number, ...] = ()
    seeds: tuple[int, ...] = ()
    """Seeds of the cells that are done."""
    failed: int = 0

    @property
    def status(self) -> str:
        """``done``, ``failed`` (every cell did) or ``missing``."""
        return "done" if self.seeds else "failed" if self.failed else "missing"


@dataclass(frozen=True)
class Table:
    """What is to be shown, free of any format."""

    row_axes: tuple[str, ...]
    col_axes: tuple[str, ...]
    rows: tuple[Place, ...]
    cols: tuple[Place, ...]
    entries: dict[Place, Entry]
    """(*row, *col) -> entry; see :meth:`entry`."""
    metrics: tuple[Metric, ...]
    decimals: int
    seeds: int
    """Seeds of the place that has most; places with fewer are marked."""
    notes: tuple[str, ...] = ()
    spread: str = "std"
    """One of SPREADS."""
    against: str | None = None
    """The defense that was subtracted, seed by seed; None: the numbers are the defenses' own."""

    def entry(self, row: Place, col: Place) -> Entry:
        """What stands in ``row`` and ``col``."""
        return self.entries.get((*row, *col), Entry())

    @property
    def tall(self) -> bool:
        """More than two metrics stand below one another, each in a line of its own."""
        return len(self.metrics) > 2

    @property
    def headings(self) -> list[str]:
        """What stands above the labels of :meth:`lines`."""
        return [*map(heading, self.row_axes), *(["metric"] if self.tall else [])]

    def lines(self) -> Iterator[tuple[tuple[str, ...], Place, slice]]:
        """The lines of the printed table: labels, the row, and which of the metrics are in it."""
        for row in self.rows:
            labels = tuple(map(label, row))
            if not self.tall:
                yield labels, row, slice(None)
                continue
            for i, metric in enumerate(self.metrics):
                yield (*labels, metric.label), row, slice(i, i + 1)

    def texts(self, entry: Entry, part: slice = slice(None)) -> list[tuple[str, str | None, bool]]:
        """Of the numbers of ``entry`` in ``part``: the mean as shown, the spread as shown, if any, and if it is best.

        A standard deviation is a bare number, an interval is in brackets.
        """
        return [
            (
                "–" if number.mean is None else metric.text(number.mean, self.decimals),
                self._spread(metric, number),
                number.best,
            )
            for metric, number in list(zip(self.metrics, entry.numbers, strict=True))[part]
        ]

    def _spread(self, metric: Metric, number: Number) -> str | None:
        if number.interval is not None:
            return f"[{', '.join(metric.text(bound, self.decimals) for bound in number.interval)}]"
        if self.spread != "std" or number.std is None:
            return None
        return replace(metric, signed=False).text(number.std, self.decimals)

    def fewer(self, entry: Entry, part: slice = slice(None)) -> int | None:
        """The number of seeds behind ``entry`` where it is less than elsewhere and so has to be marked."""
        fewest = min((number.n for number in entry.numbers[part] if number.n), default=self.seeds)
        return fewest if fewest < self.seeds else None

    @property
    def title(self) -> str:
        """``MTA / ASR in per cent``; ``MTA / ASR minus fedavg's, in percentage points``."""
        unit = " in per cent" if self.against is None else f" minus {self.against}'s, in percentage points"
        if all(metric.scale == 100 for metric in self.metrics):
            return " / ".join(metric.label for metric in self.metrics) + unit
        other = "" if self.against is None else f" minus {self.against}'s"
        return " / ".join(metric.label + (unit if metric.scale == 100 else other) for metric in self.metrics)

    @property
    def col_labels(self) -> list[tuple[str, ...]]:
        """The labels of each column, from the outermost axis to the innermost."""
        return [
            tuple(
                label(value) if axis in SPEAKING or value is None else f"{heading(axis)} {label(value)}"
                for axis, value in zip(self.col_axes, col, strict=True)
            )
            for col in self.cols
        ]


def table(
    results: pd.DataFrame,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] = ("defense",),
    metrics: Sequence[str] = MAIN,
    decimals: int = 2,
    spread: str = "std",
    against: str | None = None,
) -> Table:
    """A table of ``results`` (see :meth:`clipfed_bench.runs.store.RunStore.frames`), averaged over seeds.

    ``rows`` and ``cols`` name settings; by default attack × alpha (or degree) by defense. Settings that vary and are in
    neither are added. Best are the highest MTA and the lowest ASR among defenses, each on its own, at ``decimals``.
    ``spread`` is one of SPREADS. With ``against``, a defense of the run, it shows what the others came to minus that
    one, paired by seed in each setting: mean and spread are those of the differences. Raises UserError where there are
    no cells, for unknown names, and for cells that cannot be told apart.
    """
    if spread not in SPREADS:
        raise unknown("spread", spread, SPREADS)
    if not 0 <= decimals <= 6:
        raise UserError(f"decimals: {decimals} is out of range; it must be from 0 to 6.")
    shown = find_metrics(metrics)
    if not shown:
        raise UserError("a table needs at least one metric, e.g. mta.")
    records: Sequence[Record] = to_records(results)
    measured = of_updates(records)
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
    entries = {place: _entry(group, shown, spread) for place, group in groups.items()}
    entries = _mark_best(entries, (*left, *top), shown, decimals)
    return Table(
        left,
        top,
        tuple(sorted({place[: len(left)] for place in groups}, key=ranks)),
        tuple(sorted({place[len(left) :] for place in groups}, key=ranks)),
        entries,
        shown,
        decimals,
        max(len(entry.seeds) for entry in entries.values()),
        (*notes(records, shown, (*left, *top), added, [e.seeds for e in entries.values()], spread, against), *measured),
        spread,
        against,
    )


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


def _mark_best(
    entries: dict[Place, Entry], axes: Sequence[str], metrics: Sequence[Metric], decimals: int
) -> dict[Place, Entry]:
    """Compares places that differ in nothing but the defense; a defense alone is not the best of anything."""
    rivals: defaultdict[Place, list[Place]] = defaultdict(list)
    for place, entry in entries.items():
        if entry.numbers:
            same = (value for axis, value in zip(axes, place, strict=True) if axis not in OF_DEFENSE)
            rivals[tuple(same)].append(place)
    marked = dict(entries)
    for places in rivals.values():
        for i, metric in enumerate(metrics):
            means = {place: mean for place in places if (mean := entries[place].numbers[i].mean) is not None}
            for place in metric.best({place: float(metric.text(mean, decimals)) for place, mean in means.items()}):
                numbers = list(marked[place].numbers)
                numbers[i] = replace(numbers[i], best=True)
                marked[place] = replace(marked[place], numbers=tuple(numbers))
    return marked
