"""A table for a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from clipfed_bench.report.tables.table import Entry, Table


def render_screen(table: Table) -> Group:
    """Title, a grid with spreads below the means, and notes, to be printed by a rich console."""
    grid = Grid(title=table.title, title_justify="left", title_style="bold", show_lines=False, padding=(0, 1))
    for name in table.headings:
        grid.add_column(name, overflow="fold")
    for labels in table.col_labels:
        grid.add_column(Text("\n".join(labels)), justify="center", overflow="fold")
    before: tuple[str, ...] | None = None
    for labels, row, part in table.lines():
        if before is not None and labels[:-1] != before[:-1]:
            grid.add_section()
        same = _shared(before, labels)
        grid.add_row(
            *(Text("" if i < same else text) for i, text in enumerate(labels)),
            *(_cell(table.entry(row, col), table, part) for col in table.cols),
        )
        before = labels
    return Group(grid, *(Padding(Text(note, style="dim"), (0, 1)) for note in table.notes))


def _shared(before: tuple[str, ...] | None, labels: tuple[str, ...]) -> int:
    """Leading labels that stand above already."""
    if before is None:
        return 0
    return next((i for i, (a, b) in enumerate(zip(before, labels, strict=True)) if a != b), len(labels))


def _cell(entry: Entry, table: Table, part: slice) -> Text:
    if not entry.numbers:
        return Text("failed", style="red") if entry.status == "failed" else Text("–", style="dim")
    texts = table.texts(entry, part)
    cell = Text(" / ").join(Text(mean, style="bold green" if best else "") for mean, _, best in texts)
    if any(spread for _, spread, _ in texts):
        sign, gap = "±" if table.spread == "std" else "", " " if table.tall else "\n"
        cell.append(gap + " ".join(f"{sign}{spread}" if spread else "–" for _, spread, _ in texts), style="dim")
    fewer = table.fewer(entry, part)
    return cell.append(f"\nn={fewer}", style="yellow") if fewer else cell
