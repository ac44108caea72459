"""A table of means as a sheet: in lines as it is printed, with its records for CSV, or spread out for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from clipfed_bench.config.words import heading, titled
from clipfed_bench.report.formats.sheet import Cell, Number, Sheet
from clipfed_bench.report.formats.sheet import Entry as Shown
from clipfed_bench.report.tables.model import NOTHING, Place, Table
from clipfed_bench.report.tables.signs import IDLE

ALL = slice(None)


def printed(made: Table) -> Sheet:
    """``made``, with a line for each row, or for each metric of a row where there are more than two."""
    rows: list[tuple[str | Cell, ...]] = [
        (*labels, *(cell(made, row, col, part) for col in made.cols)) for labels, row, part in made.lines()
    ]
    heads, found = tuple(made.col_labels), records(made)
    return Sheet(made.title, tuple(made.headings), heads, tuple(rows), made.notes, found, beside=made.tall)


def cell(made: Table, row: Place, col: Place, part: slice = ALL, span: int = 1) -> Cell:
    """What is printed of the numbers in ``part`` of a place; a word where there are none."""
    entry = made.entry(row, col)
    if not entry.numbers:
        text = {"failed": "failed", "missing": "–"}[entry.status]
        return Cell((Number(text, known=False),), "failed" if entry.failed else "missing", span=span)
    texts = zip(made.texts(entry, part), made.marks(row, col, part), strict=True)
    numbers = tuple(Number(mean, spread or "", best, mark) for (mean, spread, best), mark in texts)
    return Cell(numbers, fewer=made.fewer(entry, part))


def records(made: Table) -> list[dict[str, Any]]:
    """A mapping for each place: axes, status, seeds done and failed, and mean, std and n of each metric, as stored.

    Also whether the defense is admissible, and whether the attack works without any. With an interval for spread its
    bounds as well, with none no std. Means of differences are called so and have p values, and what was subtracted is
    a column ``against``.
    """
    found = []
    mean = "mean" if made.against is None else "difference"
    for row, col in product(made.rows, made.cols):
        entry = made.entry(row, col)
        record: dict[str, Any] = dict(zip((*made.row_axes, *made.col_axes), (*row, *col), strict=True))
        record |= {} if made.against is None else {"against": made.against}
        record |= {"status": entry.status, "done": len(entry.seeds), "failed": entry.failed}
        record |= {"admissible": entry.admissible} if made.against is None else {}
        record |= {"attack_works": entry.works}
        for metric, number in zip(made.metrics, entry.numbers or [NOTHING] * len(made.metrics), strict=True):
            record[f"{metric.name}_{mean}"] = number.mean
            if made.spread != "none":
                record[f"{metric.name}_std"] = number.std
            if made.spread in ("ci", "bootstrap", "range"):
                record[f"{metric.name}_low"], record[f"{metric.name}_high"] = number.interval or (None, None)
            record[f"{metric.name}_n"] = number.n
            if made.against is not None:
                record[f"{metric.name}_p_holm"] = number.p
        found.append(record)
    return found


def spread_out(made: Table, caption: str) -> Sheet:
    """``made`` with a column for each metric below each of its columns; turned where that makes it less wide."""
    made = turned(made) if len(made.rows) < len(made.cols) else made
    width = len(made.metrics)
    names = [", ".join(filter(None, words)) or "all cells" for words in _words(made, made.col_axes, made.cols)]
    heads = [(name, *([metric.label] if width > 1 else [])) for name in names for metric in made.metrics]
    rows: list[tuple[Shown, ...]] = []
    for row, words in zip(made.rows, _words(made, made.row_axes, made.rows), strict=True):
        rows.append((*words, *(part for col in made.cols for part in _cells(made, row, col))))
    return Sheet(caption, tuple(map(heading, made.row_axes)), tuple(heads), tuple(rows))


def without_empty_columns(made: Table) -> Table:
    """``made`` without columns in which no number is known."""
    known = {
        place[len(made.row_axes) :]
        for place, entry in made.entries.items()
        if any(number.mean is not None for number in entry.numbers)
    }
    return replace(made, cols=tuple(col for col in made.cols if col in known))


def turned(made: Table) -> Table:
    """Rows for columns."""
    depth = len(made.row_axes)
    return replace(
        made, row_axes=made.col_axes, col_axes=made.row_axes, rows=made.cols, cols=made.rows,
        entries={(*place[depth:], *place[:depth]): entry for place, entry in made.entries.items()},
    )  # fmt: skip


def _words(made: Table, axes: Sequence[str], places: Sequence[Place]) -> list[tuple[str, ...]]:
    """``badnets``, ``alpha 0.1``: numbers with what they are, nothing for what is not known; then the sign, if any."""
    found = []
    for place in places:
        words = ["" if value is None else titled(axis, value) for axis, value in zip(axes, place, strict=True)]
        if place in made.idle:  # behind the last label that is there
            last = max(i for i, word in enumerate(words) if word)
            words[last] += IDLE
        found.append(tuple(words))
    return found


def _cells(made: Table, row: Place, col: Place) -> list[Cell]:
    """A cell for each metric, or one for all where there are no numbers."""
    found = cell(made, row, col, span=len(made.metrics))
    if found.kind != "done":
        return [found]
    entry = made.entry(row, col)
    first, *others = (made.fewer(entry, slice(i, i + 1)) for i in range(len(found.numbers)))
    marks = (first, *("" if mark == first else mark for mark in others))
    return [Cell((number,), fewer=mark) for number, mark in zip(found.numbers, marks, strict=True)]
