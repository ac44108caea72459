"""Points of classes in panels: a color and marker for each class, the target singled out, triggered points outlined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from clipfed_bench.paper.figures.text import SIZE
from clipfed_bench.report.plots.style import COLORS

_TARGET = (COLORS[1], "*")
_COLORS = (*(color for color in COLORS if color != COLORS[1]), "#F0E442", "#332288")
"""Of the other classes: nine that color-blind readers tell apart."""
_MARKERS = "osD^vPX<>"
_NAMED = 10
"""Classes that a legend can name."""


def class_looks(classes: int, target: int) -> list[tuple[str, str]]:
    """Color and marker of each class. The target has a star and a color of its own."""
    others = classes - 1
    if others <= len(_COLORS):
        colors = list(_COLORS)
    else:
        colors = [to_hex(colormaps["viridis"](i / max(others - 1, 1))) for i in range(others)]
    looks = [(colors[i], _MARKERS[i % len(_MARKERS)]) for i in range(others)]
    looks.insert(target, _TARGET)
    return looks


def draw(numbers: pd.DataFrame, names: Sequence[str], target: int) -> Figure:
    """A panel for each value of ``panel``: x, y by ``label``, with what is ``predicted`` counted above it."""
    panels = list(numbers["panel"].drop_duplicates())
    columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(7.0, (7.0 / columns + 0.45) * rows + 1.1), layout=ConstrainedLayoutEngine(h_pad=0.08))
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, panel in zip(grid, panels, strict=False):
        _panel(axes, numbers[numbers["panel"] == panel], class_looks(len(names), target))
        axes.set_title(f"{panel}\n{outcome(numbers[numbers['panel'] == panel], names[target], target)}", fontsize=SIZE)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.legend(handles=_legend(names, target), loc="outside lower center", ncols=6, columnspacing=1.2)
    return figure


def outcome(part: pd.DataFrame, target_name: str, target: int) -> str:
    """How many clean points a panel's model gets right, and how many triggered ones it takes for the target."""
    clean, triggered = part[~part["triggered"]], part[part["triggered"]]
    right = 100 * (clean["predicted"] == clean["label"]).mean()
    taken = int((triggered["predicted"] == target).sum())
    return f"clean: {right:.1f} % right\ntriggered: {taken} of {len(triggered)} taken for {target_name}"


def _panel(axes: Axes, part: pd.DataFrame, looks: Sequence[tuple[str, str]]) -> None:
    for outlined in (False, True):
        for label, group in part[part["triggered"] == outlined].groupby("label"):
            color, marker = looks[int(str(label))]
            size = (2.0 if marker == "*" else 1.0) * (30 if outlined else 11)
            edge = {"edgecolors": "black", "linewidths": 1.1} if outlined else {"linewidths": 0.0, "alpha": 0.65}
            axes.scatter(group["x"], group["y"], s=size, c=color, marker=marker, zorder=3 if outlined else 2, **edge)
    centers = [(part[axis].min() + part[axis].max()) / 2 for axis in ("x", "y")]
    reach = 0.54 * max(np.ptp(part[axis]) for axis in ("x", "y"))
    (left, right), (bottom, top) = ((center - reach, center + reach) for center in centers)
    axes.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.spines[:].set(visible=True, color="0.8")


def _legend(names: Sequence[str], target: int) -> list[Line2D]:
    looks = class_looks(len(names), target)

    def handle(color: str, marker: str, label: str, size: float = 5.0, edge: str = "none") -> Line2D:
        return Line2D([], [], ls="none", marker=marker, color=color, ms=size, mec=edge, label=label)

    star = handle(*looks[target], f"{names[target]} (target)", 8.0)
    if len(names) <= _NAMED:
        handles = [handle(*look, name) for look, name in zip(looks, names, strict=True)]
        handles[target] = star
    else:
        handles = [star, handle("0.5", "o", f"the {len(names) - 1} other classes")]
    return [*handles, handle("white", "o", "outlined: triggered", 6.0, "black")]
