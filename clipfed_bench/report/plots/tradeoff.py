"""MTA against ASR: a point for each defense and setting, at the mean of its seeds with its sample deviation.

Settings that differ in the last row axis of the table alone (alpha) share a panel and are told apart by how their
markers are filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.plots import panels
from clipfed_bench.report.plots.panels import Page
from clipfed_bench.report.plots.style import Look
from clipfed_bench.report.tables.axes import rank
from clipfed_bench.report.tables.model import Place, Table
from clipfed_bench.runs.metrics import MAIN

PANELS = 6
"""Panels on a page."""
FILLS = ("full", "none", "left", "bottom")
"""How the markers of the first, second, … value of the last axis are filled; with more values each has its panel."""
POINTS = 16
"""Points of a panel: where settings together would have more, each has its panel."""


def pages(results: pd.DataFrame, history: pd.DataFrame) -> Iterator[Page]:
    """Figures of six panels; the history plays no part. Raises UserError where no cell has both figures."""
    made = panels.done_table(results, MAIN)
    groups = _groups(made)
    names = panels.listed(s.label for s in panels.series(made).values())

    def shows(titles: Sequence[str]) -> str:
        return f"MTA against ASR, panels {panels.listed(titles)}; points of {names}. Upper left is best."

    return panels.paged("tradeoff", "MTA against ASR", list(groups), PANELS, partial(_figure, made, groups), shows)


def _groups(made: Table) -> dict[str, list[Place]]:
    """Panels by title, with the settings in them."""
    rows = [
        row
        for row in made.rows
        if {c for c, _ in panels.numbers(made, row, 0)} & set(dict(panels.numbers(made, row, 1)))
    ]
    if not rows:
        raise UserError("no cell of this run has both an MTA and an ASR, so there is no trade-off to draw.")
    depth = len(made.row_axes) - 1
    inner = {row[-1] for row in rows}
    crowded = len(inner) * len(made.cols) > POINTS
    if depth == 0 or crowded or not 1 < len(inner) <= len(FILLS):
        return dict(zip(panels.settings(made, rows), ([row] for row in rows), strict=True))
    groups: dict[str, list[Place]] = {}
    for row in rows:
        title = panels.settings(made, [row[:-1]], made.row_axes[:-1])[0]
        groups.setdefault(title, []).append(row)
    return groups


def _figure(made: Table, groups: dict[str, list[Place]], titles: Sequence[str]) -> Figure:
    one_by_one = all(len(rows) == 1 for rows in groups.values())
    inner = list(dict.fromkeys(row[-1] for rows in groups.values() for row in rows))
    fills = {value: "full" if one_by_one else FILLS[i % len(FILLS)] for i, value in enumerate(sorted(inner, key=rank))}
    shown = panels.series(made)
    keys = [(value, fill) for value, fill in fills.items() if not one_by_one]
    words = panels.settings(made, [(value,) for value, _ in keys], made.row_axes[-1:])
    names = [*(s.label for s in shown.values()), *words]
    columns = min(2, len(titles))
    figure, grid = panels.grid(-(-len(titles) // columns), columns, 2.6, names, {"sharex": True, "sharey": True})
    spots = [axes for line in grid for axes in line]
    for axes in spots[len(titles) :]:
        axes.set_visible(False)
    for axes, title in zip(spots, titles, strict=False):
        axes.set_title(panels.wrapped(title, 90 // columns), loc="left", fontsize="medium", fontweight="bold")
        for row in groups[title]:
            asr = dict(panels.numbers(made, row, 1))
            for col, number in panels.numbers(made, row, 0):
                if col in asr:
                    look = shown[col].look
                    (y, dy), (x, dx) = panels.span(number.mean, number.std), panels.span(asr[col].mean, asr[col].std)
                    bars: dict[str, Any] = {"xerr": panels.bar(dx), "yerr": panels.bar(dy), "elinewidth": 0.8}
                    axes.errorbar(
                        x, y, **bars, fmt=look.marker, color=look.color, fillstyle=fills[row[-1]], markersize=7,
                        markerfacecoloralt="none", markeredgewidth=1.3, alpha=0.9,
                    )  # fmt: skip
        axes.set(xlim=(-4, 104), xlabel="ASR (%), lower is better", ylabel="MTA (%), higher is better")
        axes.label_outer()
    _labels_below(grid, len(titles))
    plain: dict[str, Any] = {"linestyle": "none", "markersize": 7}
    entries = [panels.line_of(s.look, **plain) for s in shown.values()]
    entries += [
        panels.line_of(Look("#7F7F7F", "o", "-"), fillstyle=fill, markerfacecoloralt="none", **plain)
        for _, fill in keys
    ]
    panels.place_legend(figure, entries, names)
    return figure


def _labels_below(grid: list[list[Any]], count: int) -> None:
    """Labels for the panel above a place that stays empty."""
    columns = len(grid[0])
    if count % columns and len(grid) > 1:
        for axes in grid[-2][count % columns :]:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("ASR (%), lower is better")
