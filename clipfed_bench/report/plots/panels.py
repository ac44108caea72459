"""What the kinds of plots share: series with their looks, settings in words, grids of panels, one legend a figure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from clipfed_bench.core.errors import UserError, printable
from clipfed_bench.report.plots.style import Look, looks
from clipfed_bench.report.tables.model import Number, Place, Table
from clipfed_bench.report.tables.table import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Item = TypeVar("Item")

WIDTH = 7.2
"""Inches: the text width of a page."""


@dataclass(frozen=True)
class Page:
    """A figure that fits a page."""

    stem: str
    """What its file is called."""
    title: str
    figure: Figure
    shows: str
    """What is to be seen, in words, for readers who do not see it."""


@dataclass(frozen=True)
class Series:
    """The columns of a table as the series of a plot."""

    label: str
    look: Look


def done_table(results: pd.DataFrame, metrics: Sequence[str], rows: Sequence[str] | None = None) -> Table:
    """The table of the cells that are done. Raises UserError where there are none; else as ``tables.table``."""
    if "status" in results and not results.empty:
        results = results[results["status"] == "done"]
        if results.empty:
            raise UserError("no cell of this run is done, so there is nothing to draw.")
    return table(results, rows, metrics=metrics)


def series(made: Table) -> dict[Place, Series]:
    """A look for each column of ``made``, by its whole name."""
    labels = {
        col: printable(" · ".join(name for name, value in zip(names, col, strict=True) if value is not None)) or "all"
        for col, names in zip(made.cols, made.col_labels, strict=True)
    }
    found = looks(labels.values())
    return {col: Series(label, found[label]) for col, label in labels.items()}


def settings(made: Table, rows: Sequence[Place] | None = None, axes: Sequence[str] | None = None) -> list[str]:
    """Each row in words, ``badnets, alpha 0.1``; of ``rows`` of other ``axes`` if they are given."""
    # The words for rows are those for columns.
    turned = replace(made, cols=tuple(made.rows if rows is None else rows), col_axes=tuple(axes or made.row_axes))
    return [
        printable(", ".join(name for name, value in zip(names, row, strict=True) if value is not None)) or "all cells"
        for names, row in zip(turned.col_labels, turned.cols, strict=True)
    ]


def numbers(made: Table, row: Place, metric: int) -> Iterator[tuple[Place, Number]]:
    """The columns of ``row`` whose ``metric`` is known, with it."""
    for col in made.cols:
        found = made.entry(row, col).numbers
        if found and found[metric].mean is not None:
            yield col, found[metric]


def span(mean: float | None, std: float | None) -> tuple[float, tuple[float, float]]:
    """Fractions -> mean and how far its spread reaches down and up, in per cent; a share never leaves 0 to 100."""
    mean, std = 100 * (mean or 0.0), 100 * (std or 0.0)
    return mean, (max(0.0, min(std, mean)), max(0.0, min(std, 100 - mean)))


def bar(reach: tuple[float, float]) -> list[list[float]] | None:
    """What matplotlib takes for a spread; None where there is none."""
    return [[reach[0]], [reach[1]]] if any(reach) else None


def grid(
    rows: int, columns: int, height: float, names: Sequence[str], share: Mapping[str, Any] | None = None
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``rows`` × ``columns`` panels, each ``height`` inches, with room for a legend of ``names``."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = -(-len(names) // legend_columns(names)) if names else 0
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    figure = Figure(figsize=(WIDTH, rows * height + 0.21 * lines + 0.35), layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **(share or {})).tolist()


def legend(figure: Figure, shown: Iterable[Series], lines: bool = True) -> None:
    """One legend for all panels, above them."""
    shown = list(shown)
    entries = [line_of(s.look, linestyle=s.look.line if lines else "none") for s in shown]
    place_legend(figure, entries, [s.label for s in shown])


def line_of(look: Look, **style: Any) -> Any:
    """What stands for ``look`` in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"color": look.color, "marker": look.marker, **style})


def place_legend(figure: Figure, entries: Sequence[Any], names: Sequence[str]) -> None:
    """``entries`` called ``names`` above all panels, in as many columns as there is room for."""
    figure.legend(
        entries, [wrapped(name, 80) for name in names], loc="outside upper left", ncols=legend_columns(names),
        handlelength=2.6, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


def legend_columns(names: Sequence[str]) -> int:
    """How many columns of ``names`` stand side by side in the width of a figure, all about equally long."""
    longest = min(80, max(map(len, names), default=1))
    most = max(1, min(len(names), int(72 * WIDTH / (5.6 * longest + 44))))
    lines = -(-len(names) // most)
    return -(-len(names) // lines) if lines else 1


def wrapped(text: str, width: int) -> str:
    """``text`` in lines of at most ``width`` characters, broken at spaces and behind commas if that can be."""
    lines = [""]
    for piece in re.findall(r"[^,\s]*[,\s]*", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.strip() for line in lines)


def paged(
    stem: str,
    title: str,
    items: Sequence[Item],
    most: int,
    draw: Callable[[Sequence[Item]], Figure],
    shows: Callable[[Sequence[Item]], str],
) -> Iterator[Page]:
    """``items`` in figures of at most ``most`` of them, as even as can be, called ``stem``, ``stem-2``, ``stem-3`` …"""
    count = -(-len(items) // most)
    bounds = [round(i * len(items) / count) for i in range(count + 1)]
    for i, (a, b) in enumerate(pairwise(bounds)):
        yield Page(f"{stem}-{i + 1}" if i else stem, title, draw(items[a:b]), shows(items[a:b]))


def listed(names: Iterable[str], most: int = 12) -> str:
    """``a, b, c``, with the rest counted."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
