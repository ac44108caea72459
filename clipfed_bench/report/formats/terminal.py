"""Sheets for a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, JustifyMethod, OverflowMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clipfed_bench.core.console import new_console
from clipfed_bench.report.formats.sheet import Entry, Sheet

_LABEL = 12
"""Characters of a label's line; longer ones are broken [ours]."""


def show(*sheets: Sheet) -> None:
    """Print ``sheets`` on standard output."""
    new_console().print(screen(*sheets))


def screen(*sheets: Sheet) -> Group:
    """Titles, tables and notes, to be printed by a rich console."""
    shown: list[RenderableType] = []
    for sheet in sheets:
        shown += [Text("")] if shown else []
        shown += [Text(sheet.title, style="bold")] if sheet.look == "paper" else []
        shown.append(_table(sheet))
        shown += [Padding(Text(note, style="dim"), (0, 0, 0, 1), expand=False) for note in sheet.notes]
    return Group(*shown)


def least_width(sheet: Sheet) -> int:
    """Characters of a line that a grid needs so that none of its numbers is broken; labels may be."""
    labels = len(sheet.corner)
    columns = zip(*([_entry(entry, sheet).plain for entry in row] for row in sheet.rows), strict=True)
    widths = [max(len(line) for text in column for line in text.split("\n")) for column in columns]
    return 1 + sum(3 + (min(width, _LABEL) if i < labels else width) for i, width in enumerate(widths))


def _table(sheet: Sheet) -> Table:
    boxed, grouped = sheet.look == "grid", sheet.look == "paper"  # grouped: rows have headings among them
    grid = Table(
        title=None if grouped else sheet.title,
        title_justify="left",
        title_style="bold",
        padding=(0, 1) if boxed else (0, 0, 0, 1) if grouped else 0,
        box=box.HEAVY_HEAD if boxed else box.SIMPLE_HEAD,
    )
    widest = max((len(str(row[0])) for row in sheet.rows if len(row) == 1), default=0)
    for i, name in enumerate(sheet.corner):
        least = len(name) if grouped and i else widest
        grid.add_column(Text(name), overflow="fold", no_wrap=grouped and i > 0, min_width=least)
    for levels in sheet.heads:
        overflow: OverflowMethod = "ellipsis" if grouped else "fold"
        align: JustifyMethod = "center" if boxed else "right"
        grid.add_column(Text("\n".join(levels)), justify=align, overflow=overflow, no_wrap=not boxed)
    for row, same, opens in sheet.steps():
        if len(row) == 1:
            grid.add_row(Text(str(row[0]), style="bold italic"))
            continue
        if opens and not grouped:
            grid.add_section()
        grid.add_row(*[Text("")] * same, *(_entry(entry, sheet) for entry in row[same:]))
    return grid


def _entry(entry: Entry, sheet: Sheet) -> Text:
    if isinstance(entry, str):
        return Text(entry)
    style = {"failed": "red", "missing": "dim", "aside": "dim", "done": ""}[entry.kind]
    if len(entry.numbers) == 1 and style:
        return Text(entry.numbers[0].text, style=style)
    text = Text(" / ").join(Text(n.text, "bold green" if n.best else style).append(n.mark) for n in entry.numbers)
    if any(number.spread for number in entry.numbers):
        spreads = " ".join(f"{n.sign}{n.spread}" if n.spread else "–" for n in entry.numbers)
        text.append((" " if sheet.beside else "\n") + spreads, style="dim")
    return text.append(f"\nn={entry.fewer}", style="yellow") if entry.fewer else text
