"""Seconds of a round, by what they are spent on: a bar for each defense.

A bar is the mean over the attacks, partitions and malicious shares that every defense of its panel has run, so that
no defense is charged for a dearer setting than another. The rest, such as the model, has a panel of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.plots import panels
from clipfed_bench.report.plots.panels import Page
from clipfed_bench.report.plots.style import COLORS
from clipfed_bench.report.tables.model import Place, Table
from clipfed_bench.runs.metrics import SECONDS

PARTS = ("local training", "attack", "aggregation", "purification", "evaluation")
"""``seconds_defense`` is aggregation and purification."""
HATCHES = ("", "//", "..", "xx", "--")
OF_SCENE = (
    *("partition", "alpha", "degree", "attack", "attack_name", "target", "poison_ratio", "attack_start"),
    *("attack_stop", "attack_scale", "malicious", "malicious_sampling"),
)
"""Settings over which a bar is a mean."""
PANELS = 3
"""Panels on a page."""


@dataclass(frozen=True)
class Bar:
    """What a round costs a defense."""

    label: str
    seconds: tuple[float, ...]
    """Of each of PARTS, for one round."""
    cells: int
    """Cells behind it."""


def pages(results: pd.DataFrame, history: pd.DataFrame) -> Iterator[Page]:
    """Figures of three panels; the history plays no part. Raises UserError where no cell has its seconds."""
    found = bars(results)

    def shows(titles: Sequence[str]) -> str:
        names = (f"{bar.label} {sum(bar.seconds):.3g} s" for title in titles for bar in found[title])
        return f"Seconds of a round: {panels.listed(names)}."

    return panels.paged("cost", "Cost of a round", list(found), PANELS, partial(_figure, found), shows)


def bars(results: pd.DataFrame) -> dict[str, list[Bar]]:
    """Title of a panel -> its bars. Raises UserError where no cell has its seconds."""
    made = panels.done_table(_per_round(results), SECONDS)
    outer = [i for i, axis in enumerate(made.row_axes) if axis not in OF_SCENE]
    groups: dict[Place, list[Place]] = {}
    for row in made.rows:
        groups.setdefault(tuple(row[i] for i in outer), []).append(row)
    shown = panels.series(made)
    titles = panels.settings(made, list(groups), [made.row_axes[i] for i in outer]) if outer else [""]
    found = {}
    for title, rows in zip(titles, groups.values(), strict=True):
        known = {col: [row for row in rows if _seconds(made, row, col)] for col in made.cols}
        known = {col: scenes for col, scenes in known.items() if scenes}
        common = [row for row in rows if all(row in scenes for scenes in known.values())]
        made_bars = [_bar(made, shown[col].label, col, common or scenes) for col, scenes in known.items()]
        if made_bars:
            found[title] = made_bars
    if not found:
        raise UserError("no cell of this run says how long it took, so there is no cost to draw.")
    return found


def _per_round(results: pd.DataFrame) -> pd.DataFrame:
    absent = [name for name in SECONDS if name not in results]
    if "rounds" not in results or len(absent) == len(SECONDS):
        raise UserError("no cell of this run says how long it took, so there is no cost to draw.")
    return results.assign(**{name: results[name] / results["rounds"] for name in SECONDS if name not in absent})


def _seconds(made: Table, row: Place, col: Place) -> tuple[float, ...] | None:
    """Seconds of each of PARTS in that place."""
    means = [number.mean for number in made.entry(row, col).numbers]
    if not means or means[0] is None:
        return None
    local, attack, defense, purify, evaluation = (mean or 0.0 for mean in means)
    return local, attack, max(0.0, defense - purify), purify, evaluation


def _bar(made: Table, label: str, col: Place, rows: Sequence[Place]) -> Bar:
    each = [seconds for row in rows if (seconds := _seconds(made, row, col))]
    cells = sum(len(made.entry(row, col).seeds) for row in rows)
    return Bar(label, tuple(map(fmean, zip(*each, strict=True))), cells)


def _figure(found: dict[str, list[Bar]], titles: Sequence[str]) -> Figure:
    most = max(len(found[title]) for title in titles)
    figure, grid = panels.grid(len(titles), 1, 0.36 * most + 0.5, PARTS, {"sharex": True})
    for title, (axes,) in zip(titles, grid, strict=True):
        shown = found[title]
        axes.set_title(panels.wrapped(title, 90), loc="left", fontsize="medium", fontweight="bold")
        starts = [0.0] * len(shown)
        for part, (color, hatch) in enumerate(zip(COLORS, HATCHES, strict=False)):
            widths = [bar.seconds[part] for bar in shown]
            axes.barh(range(len(shown)), widths, left=starts, height=0.6, color=color, hatch=hatch, linewidth=0)
            starts = [start + width for start, width in zip(starts, widths, strict=True)]
        for y, total in enumerate(starts):
            axes.annotate(
                f"{total:.3g} s", (total, y), (4, 0), textcoords="offset points", va="center", fontsize="small"
            )
        axes.set_yticks(range(len(shown)), [panels.wrapped(bar.label, 34) for bar in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_axisbelow(True)
        axes.margins(x=0.12)
        axes.set_xlim(left=0)
    grid[-1][0].set_xlabel("seconds of a round")
    entries = [Patch(facecolor=color, hatch=hatch, linewidth=0) for color, hatch in zip(COLORS, HATCHES, strict=False)]
    panels.place_legend(figure, entries, PARTS)
    return figure
