"""MTA and ASR against what makes the task harder: alpha, degree, or the share of malicious clients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from clipfed_bench.config.words import label
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.plots import panels
from clipfed_bench.report.plots.panels import Page
from clipfed_bench.report.tables.model import Place, Table
from clipfed_bench.runs.metrics import MAIN, METRICS

AXES = {
    "alpha": "alpha (smaller is more non-IID)",
    "degree": "degree of non-IID",
    "malicious": "malicious clients (%)",
}
"""Axes that can vary, with their labels, in the order in which they are looked for."""
PANELS = 4
"""Settings on a page."""


@dataclass(frozen=True)
class Plan:
    """What is drawn against one axis."""

    made: Table
    axis: str
    groups: dict[str, dict[float, Place]]
    """Setting in words -> value on the axis -> row of the table."""


def pages(results: pd.DataFrame, history: pd.DataFrame) -> Iterator[Page]:
    """Figures of four settings against each axis that varies, called by it; the history plays no part.

    Raises UserError where none varies.
    """
    for plan in plans(results):
        title, shows = f"MTA and ASR against {plan.axis}", partial(_shows, plan)
        yield from panels.paged(plan.axis, title, list(plan.groups), PANELS, partial(_figure, plan), shows)


def _shows(plan: Plan, titles: Sequence[str]) -> str:
    names = panels.listed(s.label for s in panels.series(plan.made).values())
    return f"MTA and ASR against {plan.axis}, for {panels.listed(titles)}; a line for each of {names}."


def plans(results: pd.DataFrame) -> list[Plan]:
    """For each axis with two values that differ in nothing but the defense, one. Raises UserError without any."""
    made = panels.done_table(results, MAIN)
    found = [plan for axis in AXES if axis in made.row_axes and (plan := _plan(made, axis)).groups]
    if not found:
        raise UserError(
            f"no setting of this run has cells at two values of {' or '.join(AXES)}, so there is no axis to draw "
            "against; run a grid with, say, --alpha 0.1,0.5."
        )
    return found


def _plan(made: Table, axis: str) -> Plan:
    place = made.row_axes.index(axis)
    rest = (*made.row_axes[:place], *made.row_axes[place + 1 :])
    groups: dict[Place, dict[float, Place]] = {}
    for row in made.rows:
        if row[place] is not None:
            groups.setdefault((*row[:place], *row[place + 1 :]), {})[float(row[place])] = row
    kept = {other: rows for other, rows in groups.items() if len(rows) > 1}
    return Plan(made, axis, dict(zip(panels.settings(made, list(kept), rest), kept.values(), strict=True)))


def _figure(plan: Plan, titles: Sequence[str]) -> Figure:
    shown = panels.series(plan.made)
    names = [s.label for s in shown.values()]
    figure, grid = panels.grid(len(titles), 2, 1.75, names, {"sharex": True, "sharey": "col"})
    scale = 100.0 if plan.axis == "malicious" else 1.0
    ticks = [scale * tick for tick in sorted({value for title in titles for value in plan.groups[title]})]
    positions = (ticks[0], ticks[-1], plan.axis == "alpha")
    for title, pair in zip(titles, grid, strict=True):
        pair[0].set_title(panels.wrapped(title, 90), loc="left", fontsize="medium", fontweight="bold")
        for metric, axes in enumerate(pair):
            axes.set_ylabel(METRICS[MAIN[metric]].axis)
            for i, (col, one) in enumerate(shown.items()):
                aside = (i - (len(shown) - 1) / 2) / max(1, len(shown) - 1)  # so that bars do not hide each other
                points = [
                    (_aside(scale * value, aside, positions), *panels.span(number.mean, number.std))
                    for value, row in sorted(plan.groups[title].items())
                    for found, number in panels.numbers(plan.made, row, metric)
                    if found == col
                ]
                if points:
                    x, y, reach = zip(*points, strict=True)
                    bars: dict[str, Any] = {"yerr": list(zip(*reach, strict=True)), "elinewidth": 0.8, "capsize": 2}
                    look = one.look
                    axes.errorbar(x, y, **bars, color=look.color, marker=look.marker, linestyle=look.line, alpha=0.9)
    if plan.axis == "alpha":
        grid[0][0].set_xscale("log")
    for axes in grid[-1]:
        axes.set_xlabel(AXES[plan.axis])
        axes.set_xticks(ticks, [label(round(tick, 6)) for tick in ticks])
        axes.set_xticks([], minor=True)
    grid[0][1].set_ylim(-4, 104)
    panels.legend(figure, shown.values())
    return figure


def _aside(value: float, share: float, positions: tuple[float, float, bool]) -> float:
    """``value`` moved by ``share`` (-0.5 to 0.5) of a thirtieth of the axis from its first to its last value."""
    first, last, logarithmic = positions
    if logarithmic:
        return float(value * (last / first) ** (share / 30))
    return value + (last - first) * share / 30
