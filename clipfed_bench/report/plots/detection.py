"""Detection rates: the shares of malicious (TPR) and of benign (FPR) updates that each defense rejects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.plots import panels
from clipfed_bench.report.plots.panels import Page
from clipfed_bench.report.tables.model import Place, Table
from clipfed_bench.runs.metrics import DETECTION

LABELS = ("TPR: malicious updates rejected (%)", "FPR: benign updates rejected (%)")
HEIGHT = 6.5
"""Inches of a page that settings share."""


def pages(results: pd.DataFrame, history: pd.DataFrame) -> Iterator[Page]:
    """Figures of as many settings as a page has room for; the history plays no part.

    Raises UserError where no defense selects updates.
    """
    made = panels.done_table(results, DETECTION)
    cols = _selecting(made)

    def shows(rows: Sequence[Place]) -> str:
        names = panels.listed(panels.series(made)[col].label for col in cols)
        return f"TPR and FPR for {panels.listed(panels.settings(made, rows))}; a point for each of {names}."

    most = max(1, int(HEIGHT / _height(cols)))
    return panels.paged("detection", "Detection rates", _rows(made), most, partial(_figure, made, cols), shows)


def _selecting(made: Table) -> list[Place]:
    """The columns whose defense says whom it rejected."""
    known = {col for row in made.rows for metric in (0, 1) for col, _ in panels.numbers(made, row, metric)}
    if not known:
        raise UserError("no defense of this run rejects updates, so there are no detection rates.")
    return [col for col in made.cols if col in known]


def _rows(made: Table) -> list[Place]:
    return [row for row in made.rows if any(True for m in (0, 1) for _ in panels.numbers(made, row, m))]


def _height(cols: Sequence[Place]) -> float:
    """Inches for one setting."""
    return max(0.4, 0.11 * len(cols))


def _figure(made: Table, cols: Sequence[Place], rows: Sequence[Place]) -> Figure:
    shown = panels.series(made)
    step = 0.8 / len(cols)
    height = max(1.2, len(rows) * _height(cols)) + 0.3
    names = [shown[col].label for col in cols]
    figure, grid = panels.grid(1, 2, height, names, {"sharex": True, "sharey": True})
    for metric, axes in enumerate(grid[0]):
        for y, row in enumerate(rows):
            known = dict(panels.numbers(made, row, metric))
            for i, col in enumerate(cols):
                if col in known:
                    mean, reach = panels.span(known[col].mean, known[col].std)
                    look = shown[col].look
                    axes.errorbar(
                        mean, y + step * (i - (len(cols) - 1) / 2), xerr=panels.bar(reach), fmt=look.marker,
                        color=look.color, elinewidth=0.8, markersize=6,
                    )  # fmt: skip
        axes.set(xlim=(-4, 104), ylim=(len(rows) - 0.5, -0.5), xlabel=LABELS[metric])
        for y in range(1, len(rows)):
            axes.axhline(y - 0.5, linewidth=0.5, alpha=0.4, color="#7F7F7F")
        axes.grid(visible=False, axis="y")
    words = [panels.wrapped(name, 30) for name in panels.settings(made, rows)]
    grid[0][0].set_yticks(range(len(rows)), words)
    panels.legend(figure, (shown[col] for col in cols), lines=False)
    return figure
