"""Figure 6: MTA and ASR by round, a column for each share of malicious clients, a line for each defense."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import heading, label
from clipfed_bench.core.messages import Environment
from clipfed_bench.paper.figures import text
from clipfed_bench.paper.figures.cells import differences, finished, require_alike, require_single, values
from clipfed_bench.report.plots.style import Look, looks
from clipfed_bench.report.tables.axes import FOLLOWS, rank
from clipfed_bench.runs.metrics import MAIN, METRICS
from clipfed_bench.runs.store import RunStore

_MARKS = 8
"""Markers on a line, about."""


def make(cells: Sequence[CellSpec], env: Environment, store: RunStore) -> tuple[Figure, pd.DataFrame]:
    """The figure, and its numbers: the column's setting, defense, metric, round, mean, low, high, seeds (fractions).

    ``low`` and ``high`` are the lowest and the highest seed [ours: the paper has single runs]. Where there is one share
    and another setting takes several values, that one makes the columns. Raises UserError where no cell is done, and
    for cells that differ in anything else.
    """
    axis = column_axis(cells)
    require_alike(cells, (axis, "defense", "seed"), "figure 6")
    require_single(cells, (axis, "defense"), "figure 6")
    done, _, history = finished(cells, store)
    numbers = summary(done, history, axis)
    return _draw(numbers, axis, done, len(cells)), numbers


def column_axis(cells: Sequence[CellSpec]) -> str:
    """``malicious``, or the one setting besides defense and seed that varies in its place."""
    found = list(differences(cells, ("defense", "seed")))
    partition = next((name for name in ("alpha", "degree") if name in found), None)
    if "malicious" not in found and partition and set(found) <= {partition, "partition"}:
        return partition
    return found[0] if len(found) == 1 else "malicious"


def summary(cells: Sequence[CellSpec], history: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Mean, lowest and highest seed of each metric and round; defenses and columns in their usual order."""
    facts = pd.DataFrame([{"key": cell.key, **cell.as_dict()} for cell in cells])[["key", axis, "defense"]]
    rows = history[["key", "round", *MAIN]].merge(facts, on="key", validate="many_to_one")
    long = rows.melt([axis, "defense", "round"], list(MAIN), "metric", "share").dropna(subset=["share"])
    place = [axis, "defense", "metric", "round"]
    grouped = long.groupby(place, sort=False, dropna=False)["share"]
    numbers = grouped.agg(mean="mean", low="min", high="max", seeds="count").reset_index()
    order = {name: _ordered(cells, name) for name in (axis, "defense")}
    ranks = {name: numbers[name].map({value: i for i, value in enumerate(order[name])}) for name in order}
    ranks |= {"metric": numbers["metric"].map(MAIN.index), "round": numbers["round"]}
    index = pd.DataFrame(ranks).sort_values(place).index
    return numbers.loc[index].reset_index(drop=True)


def _ordered(cells: Sequence[CellSpec], name: str) -> list[Any]:
    return sorted(values(cells, name), key=rank)


def _draw(numbers: pd.DataFrame, axis: str, cells: Sequence[CellSpec], planned: int) -> Figure:
    columns, defenses = _ordered(cells, axis), _ordered(cells, "defense")
    figure = Figure(figsize=(max(2.3 * len(columns) + 0.6, 4.5), 4.9), layout="constrained")
    grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    styles = looks(defenses)
    for j, value in enumerate(columns):
        for i, metric in enumerate(MAIN):
            part = numbers[(numbers[axis] == value) & (numbers["metric"] == metric)]
            for k, name in enumerate(defenses):
                _line(grid[i, j], part[part["defense"] == name], name, styles[name], k / len(defenses))
            _attacked(grid[i, j], cells[0])
        share = f"{100 * value:g} % malicious" if axis == "malicious" else f"{heading(axis)} {label(value)}"
        grid[0, j].set_title(share, fontsize=text.SIZE + 1)
        grid[1, j].set_xlabel("round")
        grid[1, j].xaxis.get_major_locator().set_params(integer=True)
    for i, name in enumerate(MAIN):
        grid[i, 0].set_ylabel(METRICS[name].axis)
    ticks = _ticks(numbers[numbers["metric"] == "mta"])
    grid[0, 0].set(yticks=ticks, ylim=(ticks[0] - 1, ticks[-1] + 1))
    grid[1, 0].set(yticks=range(0, 101, 20), ylim=(-3, 103))
    handles = dict(zip(*reversed(grid[0, 0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 4))
    text.title(
        figure,
        "MTA and ASR by round; round 0 is before the first attacked round",
        text.setup(cells, without=(axis, *FOLLOWS.get(axis, ()))),
        f"Lines: {text.spread_text(numbers['seeds'], 'shaded')}.{text.missing_text(len(cells), planned)}",
    )
    return figure


def _ticks(part: pd.DataFrame) -> range:
    """Ticks of an axis in per cent around what is drawn: tens, or twenties where that is much."""
    low, high = 100 * part["low"].min(), 100 * part["high"].max()
    step = 10 if high - low < 40 else 20
    first, last = step * math.floor(low / step), step * math.ceil(high / step)
    return range(first, max(last, first + step) + 1, step)


def _line(axes: Axes, part: pd.DataFrame, name: str, look: Look, phase: float) -> None:
    """The mean, and the range over seeds where there are several; ``phase`` keeps markers of long lines apart."""
    rounds = part["round"].to_numpy()
    every = max(1, len(part) // _MARKS)
    axes.plot(rounds, 100 * part["mean"], label=name, color=look.color, ls=look.line, marker=look.marker, lw=1.4,
              ms=4.5, markevery=(int(phase * every), every))  # fmt: skip
    if (part["seeds"] > 1).any():
        axes.fill_between(rounds, 100 * part["low"], 100 * part["high"], color=look.color, alpha=0.18, lw=0)


def _attacked(axes: Axes, cell: CellSpec) -> None:
    """Mark where the attack starts or stops, if it is not on all the time."""
    for round_ in (cell.attack_start if cell.attack_start > 1 else None, cell.attack_stop):
        if round_ is not None and round_ < cell.rounds:
            axes.axvline(round_, color="0.4", lw=0.8, ls=(0, (1, 2)))
