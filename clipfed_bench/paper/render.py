"""A table of the paper as it is printed: ours, the published value and the difference in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from clipfed_bench.config.words import heading, label, titled
from clipfed_bench.paper.tables import PaperTable, Value
from clipfed_bench.report.formats.sheet import Cell, Entry, Number, Sheet
from clipfed_bench.report.tables.binomial import with_bound
from clipfed_bench.report.tables.model import Place
from clipfed_bench.runs.metrics import MAIN, METRICS, Metric

SOURCES = {"ours": "ours", "published": "publ.", "difference": "diff."}
"""Whose numbers a line has, and what that is called on a terminal."""


def in_files(table: PaperTable) -> Sheet:
    """For LaTeX and Markdown: a column for each metric, means with spreads."""
    corner = (*map(heading, table.layout.rows), "")
    heads = [(_column(table, col), METRICS[metric].label) for col in table.cols for metric in MAIN]
    rows: list[tuple[Entry, ...]] = [
        (*map(label, row), source, *(Cell((number,), _kind(source)) for number in numbers))
        for row in table.rows
        for source, numbers in _lines(table, row, 2, spread=True)
    ]
    return Sheet(_title(table), corner, tuple(heads), tuple(rows), table.notes, look="paper")


def on_screen(table: PaperTable) -> Sheet:
    """For a terminal: one decimal and no spread, so that four attacks fit; outer labels stand above their rows."""
    metrics = " / ".join(METRICS[metric].label for metric in MAIN)
    heads = []
    for col in table.cols:
        axis, _, value = _column(table, col).rpartition(" ")
        heads.append((*filter(None, (axis, value)), metrics))
    rows: list[tuple[Entry, ...]] = []
    before = ""
    for row in table.rows:
        if (outer := _outer(table, row)) and outer != before:
            rows.append((outer,))
        before = outer
        for source, numbers in _lines(table, row, 1):
            name = Cell((Number(SOURCES[source]),), _kind(source))
            pairs = (numbers[i : i + len(MAIN)] for i in range(0, len(numbers), len(MAIN)))
            rows.append((label(row[-1]), name, *(Cell(pair, _kind(source)) for pair in pairs)))
    corner = (heading(table.layout.rows[-1]), " " * max(map(len, SOURCES.values())))
    return Sheet(_title(table), corner, tuple(heads), tuple(rows), table.notes, look="paper")


def _title(table: PaperTable) -> str:
    return f"Table {table.layout.number}. {table.layout.title} (per cent)"


def _outer(table: PaperTable, row: Place) -> str:
    """The labels of a row that stand above it on a screen: all but the last."""
    return " ".join(map(titled, table.layout.rows[:-1], row[:-1]))


def _column(table: PaperTable, col: Place) -> str:
    return titled(table.layout.cols[0], col[0])


def _kind(source: str) -> Literal["done", "aside"]:
    return "done" if source == "ours" else "aside"


def _lines(
    table: PaperTable, row: Place, decimals: int, spread: bool = False
) -> Iterator[tuple[str, tuple[Number, ...]]]:
    """The lines of ``row``: whose numbers they are, and a number for each column and metric."""
    values = [(METRICS[metric], table.values[*row, *col, metric]) for col in table.cols for metric in MAIN]

    def shown(metric: Metric, share: float | None, best: bool = False) -> Number:
        if share is None:
            return Number("–", best=best, known=False)
        return Number(metric.text(share, decimals), best=best)

    def ours(metric: Metric, value: Value) -> Number:
        plain, own = shown(metric, value.ours.mean, value.ours.best), value.ours
        if own.mean is None:
            return plain
        beside = metric.text(own.std, decimals) if spread and own.std is not None else ""
        return replace(plain, text=with_bound(plain.text, own.mean, own.images), spread=beside, mark=value.mark)

    yield "ours", tuple(ours(metric, value) for metric, value in values)
    if any(v.published is not None for _, v in values):
        yield "published", tuple(shown(m, v.published, v.best_published) for m, v in values)
        changes = [shown(m.difference(), v.difference) for m, v in values]
        yield "difference", tuple(replace(change, text=change.text.replace("-", "−")) for change in changes)
