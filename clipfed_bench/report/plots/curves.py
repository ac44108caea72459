"""MTA and ASR by round: panels for each setting, a line for each defense, mean ± sample deviation over seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.plots import panels
from clipfed_bench.report.plots.panels import Page, Series
from clipfed_bench.report.tables.model import Place, Table
from clipfed_bench.runs.metrics import MAIN, METRICS

PANELS = 4
"""Settings on a page."""
BANDS = 6
"""Lines of a panel that have bands; where there are more, none has."""

Points = dict[float, list[float]]
"""Round -> a value for each seed, fractions."""
Curves = dict[tuple[Place, Place, str], Points]


def pages(results: pd.DataFrame, history: pd.DataFrame) -> Iterator[Page]:
    """Figures of four settings. Raises UserError where no cell is done or none has a history."""
    made = panels.done_table(results, MAIN)
    found = curves(made, results, history)
    names = panels.listed(s.label for s in panels.series(made).values())

    def shows(rows: Sequence[Place]) -> str:
        words = panels.listed(panels.settings(made, rows))
        return f"MTA and ASR by round, for {words}; a line for each of {names}."

    rows = [row for row in made.rows if _known(found, row)]
    return panels.paged("curves", "MTA and ASR by round", rows, PANELS, partial(_figure, made, found), shows)


def curves(made: Table, results: pd.DataFrame, history: pd.DataFrame) -> Curves:
    """(row, column, metric) -> the evaluations of that place of ``made``. Raises UserError where there are none."""
    absent = {"key", "round", *MAIN} - set(history)
    if history.empty or absent:
        raise UserError("no cell of this run has a history, so there are no curves.")
    known = results.loc[results["status"] == "done", ["key", *made.row_axes, *made.col_axes]].astype(object)
    known = known.where(known.notna(), None)
    depth = len(made.row_axes)
    places = {key: (tuple(axes[:depth]), tuple(axes[depth:])) for key, *axes in known.itertuples(index=False)}
    found: defaultdict[tuple[Place, Place, str], Points] = defaultdict(lambda: defaultdict(list))
    for record in history[["key", "round", *MAIN]].itertuples(index=False):
        key, round_, *values = record
        for metric, value in zip(MAIN, values, strict=True):
            if key in places and not math.isnan(value) and not math.isnan(round_):
                found[(*places[key], metric)][float(round_)].append(float(value))
    if not found:
        raise UserError("no cell of this run has a history, so there are no curves.")
    return dict(found)


def _known(found: Curves, row: Place) -> bool:
    return any(place[0] == row for place in found)


def _figure(made: Table, found: Curves, rows: Sequence[Place]) -> Figure:
    shown = {c: s for c, s in panels.series(made).items() if any((row, c, m) in found for row in rows for m in MAIN)}
    names = [s.label for s in shown.values()]
    figure, grid = panels.grid(len(rows), 2, 1.75, names, {"sharex": "col", "sharey": "col"})
    for row, words, pair in zip(rows, panels.settings(made, rows), grid, strict=True):
        pair[0].set_title(panels.wrapped(words, 90), loc="left", fontsize="medium", fontweight="bold")
        for metric, axes in zip(MAIN, pair, strict=True):
            axes.set_ylabel(METRICS[metric].axis)
            for col, one in shown.items():
                _line(axes, found.get((row, col, metric), {}), one, len(shown) <= BANDS)
    for axes in grid[-1]:
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[0][1].set_ylim(-4, 104)
    panels.legend(figure, shown.values())
    return figure


def _line(axes: Axes, points: Points, one: Series, band: bool) -> None:
    rounds = sorted(points)
    if not rounds:
        return
    look: dict[str, Any] = {"color": one.look.color, "marker": one.look.marker, "linestyle": one.look.line}
    spans = [panels.span(fmean(points[r]), stdev(points[r]) if len(points[r]) > 1 else 0.0) for r in rounds]
    means = [mean for mean, _ in spans]
    low, high = [mean - reach[0] for mean, reach in spans], [mean + reach[1] for mean, reach in spans]
    axes.plot(rounds, means, markevery=max(1, len(rounds) // 10), **look)
    if band and low != high:
        axes.fill_between(rounds, low, high, color=one.look.color, alpha=0.12, linewidth=0)
