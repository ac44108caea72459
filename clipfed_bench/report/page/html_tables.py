"""Tables as a page shows them: cells with their headings, words for whoever does not see bold, free of markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clipfed_bench.report.tables.table import Entry, Place, Table, heading, label


@dataclass(frozen=True)
class Head:
    """A heading above ``span`` columns."""

    text: str
    span: int = 1


@dataclass(frozen=True)
class Cell:
    """A place; ``span`` is more than one where a word stands for several numbers."""

    text: str
    spread: str | None = None
    """With its sign: ``± 1.2``, ``[3.4, 5.6]``."""
    best: bool = False
    fewer: int | None = None
    """Seeds, where they are fewer than elsewhere."""
    span: int = 1
    kind: str = "done"
    """``done``, ``failed`` or ``missing``."""
    first: bool = False
    """The first of a column of the table, as opposed to one of its metrics."""


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    label: str
    cells: tuple[Cell, ...]
    opens: bool = False
    """The first of the rows that have the outermost setting in common."""


@dataclass(frozen=True)
class Grid:
    """A table of a page."""

    caption: str
    corner: str
    heads: tuple[tuple[Head, ...], ...]
    """Lines of headings, the outermost first; the last has one for each column."""
    rows: tuple[Row, ...]


def of_table(made: Table, caption: str) -> Grid:
    """``made`` with a column for each metric below each of its columns; turned where that makes it less wide."""
    made = _turned(made) if len(made.rows) < len(made.cols) else made
    width = len(made.metrics)
    names = _words(made.col_axes, made.cols)
    heads = [tuple(Head(name, width) for name in names)]
    if width > 1:
        heads.append(tuple(Head(metric.label) for _ in names for metric in made.metrics))
    rows = []
    for i, (row, text) in enumerate(zip(made.rows, _words(made.row_axes, made.rows), strict=True)):
        cells = tuple(cell for col in made.cols for cell in _cells(made.entry(row, col), made))
        rows.append(Row(text, cells, opens=i > 0 and len(row) > 1 and row[0] != made.rows[i - 1][0]))
    return Grid(caption, ", ".join(map(heading, made.row_axes)), tuple(heads), tuple(rows))


def plain(caption: str, headers: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Grid:
    """A table of text; the first of ``headers`` stands above the keys of ``rows``."""
    heads = (tuple(map(Head, headers[1:])),)
    return Grid(
        caption,
        headers[0],
        heads,
        tuple(Row(name, tuple(Cell(text, first=True) for text in cells)) for name, cells in rows.items()),
    )


def without_empty_columns(made: Table) -> Table:
    """``made`` without columns in which no number is known."""
    known = {
        place[len(made.row_axes) :]
        for place, entry in made.entries.items()
        if any(number.mean is not None for number in entry.numbers)
    }
    return replace(made, cols=tuple(col for col in made.cols if col in known))


def _turned(made: Table) -> Table:
    """Rows for columns."""
    depth = len(made.row_axes)
    return replace(
        made, row_axes=made.col_axes, col_axes=made.row_axes, rows=made.cols, cols=made.rows,
        entries={(*place[depth:], *place[:depth]): entry for place, entry in made.entries.items()},
    )  # fmt: skip


def _words(axes: Sequence[str], places: Sequence[Place]) -> list[str]:
    """``badnets, alpha 0.1``; numbers with what they are."""
    return [
        ", ".join(
            label(value) if isinstance(value, str) else f"{heading(axis)} {label(value)}"
            for axis, value in zip(axes, place, strict=True)
            if value is not None
        )
        or "all cells"
        for place in places
    ]


def _cells(entry: Entry, made: Table) -> list[Cell]:
    if not entry.numbers:
        text = {"failed": "failed", "missing": "–"}[entry.status]
        return [Cell(text, span=len(made.metrics), kind=entry.status, first=True)]
    fewer, sign = made.fewer(entry), "± " if made.spread == "std" else ""
    return [
        Cell(mean, spread and sign + spread, best, fewer if i == 0 else None, first=i == 0)
        for i, (mean, spread, best) in enumerate(made.texts(entry))
    ]
