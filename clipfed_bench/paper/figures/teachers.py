"""Figure 7: MTA and ASR of CLIP-Fed by teacher (version of CLIP), and how good the teacher is by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.paper.figures import text
from clipfed_bench.paper.figures.cells import finished, require_alike, require_single, values
from clipfed_bench.report.plots.style import looks
from clipfed_bench.runs.metrics import MAIN, METRICS
from clipfed_bench.runs.store import RunStore

TEACHER_ALONE = {
    "teacher_zero_shot_accuracy": "the teacher alone, zero-shot on test images",
    "teacher_held_out_accuracy": "the teacher alone, zero-shot on held-out server images",
}
"""Columns of the results that say how good a teacher is; the first that a cell has is drawn beside MTA."""

_PLACE = ["dataset", "attack", "teacher", "metric"]
_GROUP = 0.6
"""Width of a teacher's group of points; teachers stand 1 apart."""


def make(cells: Sequence[CellSpec], env: Environment, store: RunStore) -> tuple[Figure, pd.DataFrame]:
    """The figure, and its numbers: dataset, attack, teacher, name, metric, mean, low, high, seeds (fractions).

    ``metric`` is mta, asr, or a column of ``TEACHER_ALONE``; ``low`` and ``high`` are the lowest and the highest seed.
    Cells whose defense has no teacher are left out. Raises UserError where no other one is done, and for cells that
    differ in anything but data set, attack, teacher and seed.
    """
    taught = [cell for cell in cells if cell.teacher is not None]
    if not taught:
        raise UserError("figure 7 compares teachers, and no cell's defense has one; add cells with clip-fed.")
    free = ("dataset", "imbalance_factor", "attack", "teacher", "server_data", "seed")
    require_alike(taught, free, "figure 7")
    require_single(taught, ("dataset", "attack", "teacher"), "figure 7")
    done, results, _ = finished(taught, store)
    numbers = summary(done, results)
    return _draw(numbers, done, len(taught)), numbers


def summary(cells: Sequence[CellSpec], results: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest seed of each metric, in the order of ``cells``."""
    by_key = {row["key"]: row for row in results.to_dict("records")}
    rows = []
    for cell in cells:
        row = by_key[cell.key]
        alone = [name for name in TEACHER_ALONE if name in row and pd.notna(row[name])][:1]
        rows += [(cell.dataset, str(cell.attack), cell.teacher, name, float(row[name])) for name in (*MAIN, *alone)]
    long = pd.DataFrame(rows, columns=[*_PLACE, "share"]).dropna(subset=["share"])
    grouped = long.groupby(_PLACE, sort=False)["share"]
    numbers = grouped.agg(mean="mean", low="min", high="max", seeds="count").reset_index()
    numbers.insert(3, "name", numbers["teacher"].map(text.teacher_labels(numbers["teacher"])))
    return numbers


def _draw(numbers: pd.DataFrame, cells: Sequence[CellSpec], planned: int) -> Figure:
    teachers = {name: float(place) for place, name in enumerate(numbers["name"].drop_duplicates())}
    datasets, attacks = values(cells, "dataset"), values(cells, "attack")
    series = [(dataset, attack) for dataset in datasets for attack in attacks]
    figure = Figure(figsize=(max(1.1 * len(teachers) + 2.6, 6.4), 3.6), layout="constrained")
    row = figure.subplots(1, 2)
    for axes, metric in zip(row, MAIN, strict=True):
        _points(axes, numbers[numbers["metric"] == metric], series, teachers)
        axes.set_ylabel(METRICS[metric].axis)
        axes.set_xticks(range(len(teachers)), list(teachers))
        axes.set_xlim(-0.6, len(teachers) - 0.4)
        axes.grid(visible=False, axis="x")
        if sum(map(len, teachers)) > 30:
            for tick in axes.get_xticklabels():
                tick.set(rotation=20, ha="right", rotation_mode="anchor")
    for i, dataset in enumerate(datasets):
        part = numbers[(numbers["dataset"] == dataset) & numbers["metric"].isin(list(TEACHER_ALONE))]
        _dashes(row[0], part, teachers, (i + 0.5) / len(datasets) - 0.5, 1 / len(datasets))
    row[1].set_ylim(bottom=0)
    handles, names = row[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4), columnspacing=1.4)
    alone = [meaning for name, meaning in TEACHER_ALONE.items() if (numbers["metric"] == name).any()]
    spread, missing = text.spread_text(numbers["seeds"], "bars"), text.missing_text(len(cells), planned)
    text.title(
        figure,
        f"MTA and ASR of {cells[0].defense} by teacher",
        text.setup(cells, without=("teacher",)),
        f"Points: {spread}.{missing}",
        f"Dashes: {' or '.join(alone)}." if alone else "",
    )
    return figure


def _points(
    axes: Axes, numbers: pd.DataFrame, series: Sequence[tuple[str, str]], teachers: Mapping[str, float]
) -> None:
    """One marker a series in each teacher's group, with the range over seeds."""
    styles = looks(_name(one, series) for one in series)
    for i, (dataset, attack) in enumerate(series):
        part = numbers[(numbers["dataset"] == dataset) & (numbers["attack"] == attack)]
        name = _name((dataset, attack), series)
        if part.empty:
            continue
        places = part["name"].map(teachers) + _GROUP * ((i + 0.5) / len(series) - 0.5)
        mean, low, high = (100 * part[column] for column in ("mean", "low", "high"))
        bars = [(mean - low).clip(0), (high - mean).clip(0)]  # rounding may put a mean outside its range
        look = styles[name]
        axes.errorbar(places, mean, yerr=bars, color=look.color, marker=look.marker, ls="none", capsize=3, label=name)


def _name(one: tuple[str, str], series: Sequence[tuple[str, str]]) -> str:
    """What tells ``one`` (data set, attack) from the other series."""
    varying = [i for i in (0, 1) if len({other[i] for other in series}) > 1]
    return ", ".join(one[i] for i in varying) or one[1]


def _dashes(axes: Axes, part: pd.DataFrame, teachers: Mapping[str, float], center: float, width: float) -> None:
    """How good teachers are by themselves, as dashes over the points of one data set."""
    rows = part.drop_duplicates("name")
    if not rows.empty:
        places, half = rows["name"].map(teachers) + _GROUP * center, 0.45 * _GROUP * width
        axes.hlines(100 * rows["mean"], places - half, places + half, color="0.35", lw=1.8)
