"""Sheets for a terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, OverflowMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clipfed_bench.report.formats.sheet import Entry, Sheet


def screen(*sheets: Sheet) -> Group:
    """Titles, tables and notes, to be printed by a rich console."""
    shown: list[RenderableType] = []
    for sheet in sheets:
        shown += [Text(sheet.title, style="bold")] if _grouped(sheet) else []
        shown.append(_table(sheet))
        shown += [Padding(Text(note, style="dim"), (0, 0, 0, 1), expand=False) for note in sheet.notes]
        shown += [Text("")] if sheet.look.part else []
    return Group(*shown)


def _grouped(sheet: Sheet) -> bool:
    """The lines of a row belong together, and rows have headings among them."""
    return sheet.look.merged and not sheet.look.boxed


def _table(sheet: Sheet) -> Table:
    grid = Table(title_justify="left", title_style="bold", **_frame(sheet))
    grouped, whole = _grouped(sheet), not sheet.look.boxed
    widest = max((len(str(row[0])) for row in sheet.rows if len(row) == 1), default=0)
    for i, name in enumerate(sheet.corner):
        least = len(name) if grouped and i else widest
        grid.add_column(Text(name), overflow="fold", no_wrap=grouped and i > 0, min_width=least)
    for levels in sheet.heads:
        overflow: OverflowMethod = "ellipsis" if grouped else "fold"
        grid.add_column(Text("\n".join(levels)), justify=sheet.look.align, overflow=overflow, no_wrap=whole)
    for row, same, opens in sheet.steps():
        if len(row) == 1:
            grid.add_row(Text(str(row[0]), style="bold italic"))
            continue
        if opens and not grouped:
            grid.add_section()
        grid.add_row(*[Text("")] * same, *(_entry(entry, sheet) for entry in row[same:]))
    return grid


def _frame(sheet: Sheet) -> dict[str, Any]:
    if sheet.look.boxed:
        return {"title": sheet.title, "padding": (0, 1)}
    if _grouped(sheet):
        return {"padding": (0, 0, 0, 1), "box": box.SIMPLE_HEAD}
    return {"title": sheet.title, "padding": 0, "box": box.SIMPLE_HEAD}


def _entry(entry: Entry, sheet: Sheet) -> Text:
    if isinstance(entry, str):
        return Text(entry)
    style = {"failed": "red", "missing": "dim", "aside": "dim", "done": ""}[entry.kind]
    if len(entry.numbers) == 1 and style:
        return Text(entry.numbers[0].text, style=style)
    text = Text(" / ").join(Text(n.text, style="bold green" if n.best else style) for n in entry.numbers)
    if any(number.spread for number in entry.numbers):
        spreads = " ".join(f"{n.sign}{n.spread}" if n.spread else "–" for n in entry.numbers)
        text.append((" " if sheet.beside else "\n") + spreads, style="dim")
    return text.append(f"\nn={entry.fewer}", style="yellow") if entry.fewer else text
