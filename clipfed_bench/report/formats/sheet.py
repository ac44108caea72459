"""The one model of what is printed, free of any format: a titled table of texts and numbers, with notes below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Any, Literal


@dataclass(frozen=True)
class Number:
    """A figure as it is shown."""

    text: str
    spread: str = ""
    """What stands beside it: a deviation as a bare number, an interval in brackets."""
    best: bool = False
    mark: str = ""
    """A sign behind it that a note explains."""
    known: bool = True
    """False where ``text`` says that there is none."""

    @property
    def sign(self) -> str:
        """``±`` before a deviation."""
        return "±" if self.spread and not self.spread.startswith("[") else ""


@dataclass(frozen=True)
class Cell:
    """A place of a table, with one number or several."""

    numbers: tuple[Number, ...]
    kind: Literal["done", "failed", "missing", "aside"] = "done"
    """``aside`` is set smaller or paler than what it stands beside."""
    fewer: str = ""
    """Seeds, where they are fewer than elsewhere: ``2``, or ``3 / 2`` of two numbers."""
    span: int = 1
    """Columns that it takes."""


Entry = str | Cell
"""A text, or numbers."""


Look = Literal["grid", "list", "paper"]
"""Means over seeds by settings; rows of texts; a table of the paper, where the lines of a row belong together."""


@dataclass(frozen=True)
class Sheet:
    """What is to be shown."""

    title: str
    corner: tuple[str, ...]
    """What stands above the labels, the leading columns of every row."""
    heads: tuple[tuple[str, ...], ...]
    """For each other column its headings, from the outermost to the innermost."""
    rows: tuple[tuple[Entry, ...], ...]
    """Labels, then cells. A row of one entry is a heading of the rows below it."""
    notes: tuple[str, ...] = ()
    records: Sequence[Mapping[str, Any]] = ()
    """The same in full precision, as stored, for CSV."""
    look: Look = "grid"
    beside: bool = False
    """On a terminal spreads stand beside means, not below them."""

    def head_lines(self) -> list[list[tuple[str, int]]]:
        """Lines of headings, the outermost first: texts with the columns that they span; the last has all columns."""
        outer = [[head[:level] for head in self.heads] for level in range(1, len(self.heads[0]))]
        lines = [[(above[-1], len(list(same))) for above, same in groupby(heads)] for heads in outer]
        return [*lines, [(head[-1], 1) for head in self.heads]]

    def steps(self) -> Iterator[tuple[tuple[Entry, ...], int, bool]]:
        """Each row, how many of its leading labels stand above it already, and whether another group begins with it.

        Rows of a group have all labels but the last in common; the last is never one that stands above.
        """
        before: tuple[Entry, ...] = ()
        for row in self.rows:
            outer = row[: len(self.corner)][:-1]
            above = takewhile(lambda pair: pair[0] == pair[1], zip(before, outer, strict=False))
            yield row, len(list(above)), bool(before) and outer != before
            before = outer


def listing(
    title: str,
    headings: Sequence[str],
    labels: int,
    rows: Iterable[tuple[Entry, ...]],
    notes: Sequence[str] = (),
    records: Sequence[Mapping[str, Any]] = (),
) -> Sheet:
    """A sheet with one line of ``headings``, of which so many are those of ``labels``."""
    heads = tuple((heading,) for heading in headings[labels:])
    return Sheet(title, tuple(headings[:labels]), heads, tuple(rows), tuple(notes), records, "list")
