"""A table of the paper as Markdown, LaTeX and for a terminal: ours, the published value and the difference in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipfed_bench.paper.tables import PaperTable, Place, Value
from clipfed_bench.report.formats.latex import document, escape, tabular
from clipfed_bench.report.tables.table import heading, label
from clipfed_bench.runs.metrics import MAIN

if TYPE_CHECKING:
    from rich.console import RenderableType

_ABSENT = "–"
_SHORT = {"ours": "ours", "published": "publ.", "difference": "diff."}


@dataclass(frozen=True)
class Line:
    """One line of a table: whose numbers they are, and for each column and metric a text and if it is bold."""

    row: Place
    source: str
    cells: tuple[tuple[str, bool], ...]


def markdown(table: PaperTable) -> str:
    """Title, table, notes."""
    import pandas as pd

    headings = [*map(heading, table.layout.rows), "", *(f"{name} {metric}" for name, metric in _columns(table))]
    body = [
        [*_labels(line, first), line.source, *(f"**{text}**" if bold else text for text, bold in line.cells)]
        for line, first in _lines(table)
    ]
    text = pd.DataFrame(body).to_markdown(index=False, headers=headings, disable_numparse=True)
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"**{_title(table)}**\n\n{text}\n\n{notes}\n"


def latex(table: PaperTable) -> str:
    """A document that compiles as it is."""
    import pandas as pd

    lines = [line for line, _ in _lines(table)]
    index = [[escape(label(line.row[i])) for line in lines] for i in range(len(table.layout.rows))]
    columns = pd.MultiIndex.from_tuples([(escape(name), metric) for name, metric in _columns(table)])
    cells = [[_latex_cell(text, bold, line.source) for text, bold in line.cells] for line in lines]
    frame = pd.DataFrame(
        cells, index=pd.MultiIndex.from_arrays([*index, [line.source for line in lines]]), columns=columns
    )
    return document(_title(table), tabular(frame, [*map(heading, table.layout.rows), ""]), table.notes)


def screen(table: PaperTable) -> RenderableType:
    """For a rich console: one decimal and no spread, so that four attacks fit."""
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(padding=(0, 0, 0, 1), box=box.SIMPLE_HEAD)
    widest = max(len(_outer(table, row)) for row in table.rows)
    grid.add_column(heading(table.layout.rows[-1]), overflow="fold", min_width=widest)
    grid.add_column("", no_wrap=True, min_width=5)
    for name, _ in _columns(table)[:: len(MAIN)]:
        axis, _, value = name.rpartition(" ")
        grid.add_column(Text(f"{axis}\n{value}\nMTA / ASR".strip()), justify="right", no_wrap=True)
    before = ""
    for line, first in _lines(table, decimals=1):
        if (outer := _outer(table, line.row)) and outer != before:
            grid.add_row(Text(outer, style="bold italic"))
        before = outer
        style = "" if line.source == "ours" else "dim"
        texts = [Text(text, style="bold green" if bold else style) for text, bold in line.cells]
        pairs = (Text(" / ").join(texts[i : i + len(MAIN)]) for i in range(0, len(texts), len(MAIN)))
        grid.add_row(Text(_labels(line, first)[-1]), Text(_SHORT[line.source], style=style), *pairs)
    return Group(
        Text(_title(table), style="bold"), grid, *(Padding(Text(note, style="dim"), (0, 1)) for note in table.notes)
    )


def _title(table: PaperTable) -> str:
    return f"Table {table.layout.number}. {table.layout.title} (per cent)"


def _outer(table: PaperTable, row: Place) -> str:
    """The labels of a row that stand above it on a screen: all but the last."""
    axes = zip(table.layout.rows[:-1], row[:-1], strict=True)
    return " ".join(
        label(value) if isinstance(value, str) else f"{heading(axis)} {label(value)}" for axis, value in axes
    )


def _columns(table: PaperTable) -> list[tuple[str, str]]:
    axis = table.layout.cols[0]
    name = "" if axis in ("attack", "dataset", "defense") else f"{heading(axis)} "
    return [(name + label(col[0]), metric.upper()) for col in table.cols for metric in MAIN]


def _lines(table: PaperTable, decimals: int | None = None) -> Iterator[tuple[Line, bool]]:
    """Each line, and whether it is the first of its row; spreads only with ``decimals`` left out (2)."""
    places = 2 if decimals is None else decimals
    for row in table.rows:
        values = [table.values[*row, *col, metric] for col in table.cols for metric in MAIN]
        ours = [_share(v.ours, places) + (_spread(v, places) if decimals is None else "") for v in values]
        yield Line(row, "ours", tuple(zip(ours, (v.best for v in values), strict=True))), True
        if any(v.published is not None for v in values):
            known = tuple((_share(v.published, places), v.best_published) for v in values)
            yield Line(row, "published", known), False
            yield Line(row, "difference", tuple((_signed(v.difference, places), False) for v in values)), False


def _labels(line: Line, first: bool) -> list[str]:
    return [label(value) if first else "" for value in line.row]


def _share(value: float | None, decimals: int) -> str:
    return _ABSENT if value is None else f"{100 * value:.{decimals}f}"


def _spread(value: Value, decimals: int) -> str:
    return "" if value.std is None else f" ± {100 * value.std:.{decimals}f}"


def _signed(value: float | None, decimals: int) -> str:
    return _ABSENT if value is None else f"{100 * value:+.{decimals}f}".replace("-", "−")


def _latex_cell(text: str, bold: bool, source: str) -> str:
    mean, _, spread = text.partition(" ± ")
    shown = escape(mean.replace("−", "-")) if source != "difference" else f"${mean.replace('−', '-')}$"
    shown = "--" if mean == _ABSENT else shown
    shown = rf"\textbf{{{shown}}}" if bold else shown
    shown += rf"\,{{\scriptsize$\pm${spread}}}" if spread else ""
    return shown if source == "ours" else rf"{{\footnotesize {shown}}}"
