"""A table of means as it is printed: labels, numbers with their spreads, and the same in full precision for CSV."""

from __future__ import annotations

from typing import Any

from clipfed_bench.report.formats.sheet import GRID, Cell, Number, Sheet
from clipfed_bench.report.tables.table import Entry, Table

ALL = slice(None)


def printed(made: Table) -> Sheet:
    """``made``, with a line for each row, or for each metric of a row where there are more than two."""
    rows: list[tuple[str | Cell, ...]] = [
        (*labels, *(cell(made, made.entry(row, col), part) for col in made.cols)) for labels, row, part in made.lines()
    ]
    heads, found = tuple(made.col_labels), records(made)
    return Sheet(made.title, tuple(made.headings), heads, tuple(rows), made.notes, found, GRID, beside=made.tall)


def cell(made: Table, entry: Entry, part: slice = ALL, span: int = 1) -> Cell:
    """What is printed of the numbers of ``entry`` in ``part``; a word where there are none."""
    if not entry.numbers:
        text = {"failed": "failed", "missing": "–"}[entry.status]
        return Cell((Number(text, known=False),), "failed" if entry.failed else "missing", span=span)
    numbers = tuple(Number(mean, spread or "", best) for mean, spread, best in made.texts(entry, part))
    return Cell(numbers, fewer=made.fewer(entry, part))


def records(made: Table) -> list[dict[str, Any]]:
    """A mapping for each place: axes, status, seeds done and failed, and mean, std and n of each metric, as stored.

    With an interval for spread its bounds as well, with none no std. Means of differences are called so, and what was
    subtracted is a column ``against``.
    """
    found = []
    for row in made.rows:
        for col in made.cols:
            entry = made.entry(row, col)
            record: dict[str, Any] = dict(zip((*made.row_axes, *made.col_axes), (*row, *col), strict=True))
            record |= {} if made.against is None else {"against": made.against}
            record |= {"status": entry.status, "done": len(entry.seeds), "failed": entry.failed}
            for i, metric in enumerate(made.metrics):
                number = entry.numbers[i] if entry.numbers else None
                mean = "mean" if made.against is None else "difference"
                record[f"{metric.name}_{mean}"] = number.mean if number else None
                if made.spread != "none":
                    record[f"{metric.name}_std"] = number.std if number else None
                if made.spread in ("ci", "bootstrap", "range"):
                    bounds = number.interval if number and number.interval else (None, None)
                    record[f"{metric.name}_low"], record[f"{metric.name}_high"] = bounds
                record[f"{metric.name}_n"] = number.n if number else 0
            found.append(record)
    return found
