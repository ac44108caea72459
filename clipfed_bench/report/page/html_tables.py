"""Tables as a page shows them: every number in a column of its own, settings in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipfed_bench.config.words import heading, titled
from clipfed_bench.report.formats.sheet import Cell, Entry, Number, Sheet, listing
from clipfed_bench.report.tables.printed import cell
from clipfed_bench.report.tables.table import Place, Table


def of_table(made: Table, caption: str) -> Sheet:
    """``made`` with a column for each metric below each of its columns; turned where that makes it less wide."""
    made = _turned(made) if len(made.rows) < len(made.cols) else made
    width = len(made.metrics)
    names = [", ".join(filter(None, words)) or "all cells" for words in _words(made.col_axes, made.cols)]
    heads = [(name, *([metric.label] if width > 1 else [])) for name in names for metric in made.metrics]
    rows: list[tuple[Entry, ...]] = []
    for row, words in zip(made.rows, _words(made.row_axes, made.rows), strict=True):
        rows.append((*words, *(part for col in made.cols for part in _cells(made, row, col))))
    return Sheet(caption, tuple(map(heading, made.row_axes)), tuple(heads), tuple(rows))


def plain(caption: str, headers: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Sheet:
    """A table of text; the first of ``headers`` stands above the keys of ``rows``."""
    lines: list[tuple[Entry, ...]] = [
        (name, *(Cell((Number(text),)) for text in texts)) for name, texts in rows.items()
    ]
    return listing(caption, headers, 1, lines)


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


def _words(axes: Sequence[str], places: Sequence[Place]) -> list[tuple[str, ...]]:
    """``badnets``, ``alpha 0.1``: numbers with what they are, nothing for what is not known."""
    return [
        tuple("" if value is None else titled(axis, value) for axis, value in zip(axes, place, strict=True))
        for place in places
    ]


def _cells(made: Table, row: Place, col: Place) -> list[Cell]:
    """A cell for each metric, or one for all where there are no numbers."""
    found = cell(made, made.entry(row, col), span=len(made.metrics))
    if found.kind != "done":
        return [found]
    return [Cell((number,), fewer=found.fewer if i == 0 else None) for i, number in enumerate(found.numbers)]
