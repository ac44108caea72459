"""A plain list of texts with headings and notes, in every format: what is not a grid of means over seeds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Sheet:
    """What is to be shown, free of any format."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Texts, one for each heading."""
    labels: int
    """So many leading columns are labels: aligned left, the others right."""
    notes: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]
    """The same in full precision, as stored, for CSV."""


def render_sheet(sheet: Sheet, format: str) -> str:
    """``sheet`` as ``latex`` (a document), ``markdown`` or ``csv``."""
    return {"latex": _latex, "markdown": _markdown, "csv": _csv}[format](sheet)


def sheet_screen(sheet: Sheet) -> RenderableType:
    """``sheet`` for a rich console."""
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(title=sheet.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0)
    for i, name in enumerate(sheet.headings):
        number = i >= sheet.labels
        grid.add_column(Text(name), justify="right" if number else "left", overflow="fold", no_wrap=number)
    before: tuple[str, ...] = ()
    for row in sheet.rows:
        if before and row[: sheet.labels - 1] != before[: sheet.labels - 1]:
            grid.add_section()
        grid.add_row(*(Text(text) for text in _blanked(row, before, sheet.labels)))
        before = row
    return Group(grid, *(Padding(Text(note, style="dim"), (0, 1)) for note in sheet.notes))


def _markdown(sheet: Sheet) -> str:
    import pandas as pd

    from clipfed_bench.report.formats.markdown import plain

    rows = pd.DataFrame([list(map(plain, row)) for row in sheet.rows])
    align = ["left" if i < sheet.labels else "right" for i in range(len(sheet.headings))]
    headings = list(map(plain, sheet.headings))
    body = rows.to_markdown(index=False, headers=headings, disable_numparse=True, colalign=align)
    notes = "\n".join(f"- {plain(note)}" for note in sheet.notes)
    return f"**{plain(sheet.title)}**\n\n{body}\n\n{notes}\n"


def _csv(sheet: Sheet) -> str:
    import pandas as pd

    text: str = pd.DataFrame(list(sheet.records)).to_csv(index=False, lineterminator="\n")
    return text


def _latex(sheet: Sheet) -> str:
    from clipfed_bench.report.formats.latex import document, escape

    def line(texts: Iterator[str]) -> str:
        return " & ".join(re.sub(r"(?<![^\s}])-(?=\d)", "$-$", text) for text in texts) + r" \\"

    columns = "l" * sheet.labels + "r" * (len(sheet.headings) - sheet.labels)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(map(escape, sheet.headings)), r"\midrule"]
    before: tuple[str, ...] = ()
    for row in sheet.rows:
        if before and row[: sheet.labels - 1] != before[: sheet.labels - 1]:
            lines.append(r"\addlinespace")
        lines.append(line(map(escape, _blanked(row, before, sheet.labels))))
        before = row
    return document(sheet.title, "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n", sheet.notes)


def _blanked(row: tuple[str, ...], before: tuple[str, ...], labels: int) -> Iterator[str]:
    """``row`` without the leading labels that stand above already; the last label is never left out."""
    same = bool(before)
    for i, text in enumerate(row):
        same = same and i < labels - 1 and text == before[i]
        yield "" if same else text
