"""A table of results, free of any format: numbers over seeds, in places that stand for settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from clipfed_bench.config.words import SPEAKING, heading, label
from clipfed_bench.report.tables.axes import OF_DEFENSE
from clipfed_bench.report.tables.binomial import with_bound
from clipfed_bench.report.tables.signs import APART, IDLE, LOW
from clipfed_bench.report.tables.statistics import LEVEL, Interval
from clipfed_bench.runs.metrics import Metric

Place = tuple[Any, ...]


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
    images: int | None = None
    """Test images of which it is a share, where a binomial bound is asked for and that is known."""
    p: float | None = None
    """Of a difference: p value of the paired t test, corrected for all differences of the table (Holm)."""


NOTHING = Number(None, None, 0)
"""Of a place without a cell that is done."""


@dataclass(frozen=True)
class Entry:
    """One place of a table: a number for each metric (none if no cell is done), and its cells by outcome."""

    numbers: tuple[Number, ...] = ()
    seeds: tuple[int, ...] = ()
    """Seeds of the cells that are done."""
    failed: int = 0
    admissible: bool | None = None
    """Whether the defense keeps the main task (:mod:`.admissible`); None where that is not known."""
    works: bool | None = None
    """Whether the attack works without a defense (:mod:`.doubts`); None without an attack, and where not known."""

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
            labels = (*map(label, row[:-1]), label(row[-1]) + IDLE * (row in self.idle))
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
            (self._mean(metric, number), self._spread(metric, number), number.best)
            for metric, number in list(zip(self.metrics, entry.numbers, strict=True))[part]
        ]

    def _mean(self, metric: Metric, number: Number) -> str:
        if number.mean is None:
            return "–"
        text = metric.text(number.mean, self.decimals)
        return with_bound(text, number.mean, number.images)

    def _spread(self, metric: Metric, number: Number) -> str | None:
        if number.interval is not None:
            return f"[{', '.join(metric.text(bound, self.decimals) for bound in number.interval)}]"
        if self.spread != "std" or number.std is None:
            return None
        return replace(metric, signed=False).text(number.std, self.decimals)

    @cached_property
    def idle(self) -> frozenset[Place]:
        """Rows in which the attack works in no cell even without a defense; columns, where attacks stand there."""
        by_row = not {"attack", "attack_name"} & {*self.col_axes} and not {*self.row_axes} <= {*OF_DEFENSE}
        works: dict[Place, set[bool | None]] = {}
        for place, entry in self.entries.items():
            if entry.numbers:
                line = place[: len(self.row_axes)] if by_row else place[len(self.row_axes) :]
                works.setdefault(line, set()).add(entry.works)
        return frozenset(line for line, found in works.items() if found == {False})

    def marks(self, row: Place, col: Place, part: slice = slice(None)) -> list[str]:
        """Signs behind the numbers of a place in ``part``; those on the whole place stand behind its MTA, if shown."""
        entry, names = self.entry(row, col), [metric.name for metric in self.metrics]
        lead = names.index("mta") if "mta" in names else 0
        whole = LOW * (entry.admissible is False) + IDLE * (entry.works is False and not {row, col} & self.idle)
        apart = (number.p is not None and number.p < 1 - LEVEL for number in entry.numbers)
        return [APART * far + whole * (i == lead) for i, far in enumerate(apart)][part]

    def fewer(self, entry: Entry, part: slice = slice(None)) -> str:
        """Seeds behind the numbers of ``entry`` where they are fewer than elsewhere and so have to be marked.

        ``2``, or ``3 / 2`` where numbers have not the same; empty where there is nothing to mark.
        """
        counts = [number.n for number in entry.numbers[part]]
        known = {n for n in counts if n}
        if not known or min(known) >= self.seeds:
            return ""
        return str(*known) if len(known) == 1 else " / ".join(str(n) if n else "–" for n in counts)

    @property
    def uneven(self) -> bool:
        """Whether any number is so marked."""
        return any(self.fewer(entry) for entry in self.entries.values())

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
                (label(value) if axis in SPEAKING or value is None else f"{heading(axis)} {label(value)}")
                + IDLE * (i == len(col) and col in self.idle)
                for i, (axis, value) in enumerate(zip(self.col_axes, col, strict=True), 1)
            )
            for col in self.cols
        ]
