"""A sheet as Markdown to read, and as CSV to compute with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from clipfed_bench.report.formats.sheet import Entry, Number, Sheet


def markdown(*sheets: Sheet) -> str:
    """Titles, tables whose columns are aligned in plain text too, notes."""
    return "\n\n".join(part for sheet in sheets for part in parts(sheet)) + "\n"


def parts(sheet: Sheet) -> Iterator[str]:
    """Title, table, and notes where there are any."""
    if sheet.look.part:
        yield f"## {sheet.title}"
        yield _narrow(sheet)
        yield from sheet.notes
        return
    yield f"**{sheet.title if sheet.look.merged else plain(sheet.title)}**"
    yield _aligned(sheet)
    if sheet.notes:
        yield bullets(sheet.notes) if not sheet.look.raw else "\n".join(f"- {note}" for note in sheet.notes)


def csv(sheet: Sheet) -> str:
    """The records in full precision; fractions, not per cent."""
    import pandas as pd

    text: str = pd.DataFrame(list(sheet.records)).to_csv(index=False, lineterminator="\n")
    return text


def bullets(texts: Iterable[str]) -> str:
    """A list of ``texts``."""
    return "\n".join(f"- {plain(text)}" for text in texts)


def plain(text: str) -> str:
    """``text`` without meaning to Markdown, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _aligned(sheet: Sheet) -> str:
    import pandas as pd

    depth, merged = len(sheet.corner), sheet.look.merged
    headings = [*sheet.corner, *(sheet.joint.join(levels) for levels in sheet.heads)]
    rows = []
    for i, (row, same, _) in enumerate(sheet.steps()):
        above = same if sheet.look.raw and i > 0 and same == depth - 1 else 0
        rows.append([*[""] * above, *(_entry(entry, sheet) for entry in row[above:])])
    text: str = pd.DataFrame(rows).to_markdown(
        index=False,
        headers=[_entry(text, sheet) for text in headings],
        disable_numparse=True,
        colalign=["left"] * depth + ["left" if merged else "right"] * len(sheet.heads),
    )
    return text


def _narrow(sheet: Sheet) -> str:
    """A table that is not aligned in plain text."""
    headings = (*sheet.corner, *(head for (head,) in sheet.heads))
    lines = [headings, ("---",) * len(headings), *sheet.rows]
    return "\n".join(f"| {' | '.join(_entry(entry, sheet).replace('|', '/') for entry in line)} |" for line in lines)


def _entry(entry: Entry, sheet: Sheet) -> str:
    if isinstance(entry, str):
        return entry if sheet.look.raw else plain(entry)
    text = " / ".join(_number(number, sheet) for number in entry.numbers)
    return text + (f" (n={entry.fewer})" if entry.fewer else "")


def _number(number: Number, sheet: Sheet) -> str:
    spread = f" {number.sign} {number.spread}" if number.sign else f" {number.spread}" if number.spread else ""
    if not number.best:
        return number.text + spread
    return f"**{number.text}{spread}**" if sheet.look.raw else f"**{number.text}**{spread}"
