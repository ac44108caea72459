"""A sheet as Markdown to read, and as CSV to compute with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pandas as pd
from tabulate import tabulate

from clipfed_bench.report.formats.sheet import Entry, Number, Sheet


def markdown(*sheets: Sheet) -> str:
    """Titles, tables whose columns are aligned in plain text too, notes."""
    return "\n\n".join(part for sheet in sheets for part in parts(sheet)) + "\n"


def parts(sheet: Sheet) -> Iterator[str]:
    """Title, table, and notes where there are any."""
    yield f"**{plain(sheet.title)}**"
    yield tabulate(
        [list(map(_entry, row)) for row in sheet.rows],
        [plain(name) for name in (*sheet.corner, *map(" · ".join, sheet.heads))],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left"] * len(sheet.corner) + ["right"] * len(sheet.heads),
    )
    if sheet.notes:
        yield bullets(sheet.notes)


def csv(sheet: Sheet) -> str:
    """The records in full precision; fractions, not per cent."""
    text: str = pd.DataFrame(list(sheet.records)).to_csv(index=False, lineterminator="\n")
    return text


def bullets(texts: Iterable[str]) -> str:
    """A list of ``texts``."""
    return "\n".join(f"- {plain(text)}" for text in texts)


def plain(text: str) -> str:
    """``text`` without meaning to Markdown, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _entry(entry: Entry) -> str:
    if isinstance(entry, str):
        return plain(entry)
    return " / ".join(map(_number, entry.numbers)) + (f" (n={entry.fewer})" if entry.fewer else "")


def _number(number: Number) -> str:
    text = f"**{number.text}**" if number.best else number.text
    return " ".join(filter(None, (text + plain(number.mark), number.sign, number.spread)))
