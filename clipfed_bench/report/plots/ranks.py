"""Critical-difference diagrams: mean ranks over settings by MTA and by ASR; a bar joins defenses that do not differ.

Demšar, JMLR 2006, Figure 1; drawn by scikit-posthocs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.overall.ranks import critical_difference, mean_ranks, nemenyi, posthocs
from clipfed_bench.report.overall.scores import Scores, scored
from clipfed_bench.report.plots import panels
from clipfed_bench.report.plots.panels import Page
from clipfed_bench.report.plots.style import looks
from clipfed_bench.report.tables.statistics import LEVEL
from clipfed_bench.report.tables.table import to_records
from clipfed_bench.runs.metric_catalog import find_metrics
from clipfed_bench.runs.metrics import MAIN

LINE = 0.24
"""Inches for the label of a defense."""


def pages(results: pd.DataFrame, history: pd.DataFrame) -> Iterator[Page]:
    """One figure with a diagram for each of MTA and ASR that has what it takes; the history plays no part.

    Raises UserError as :func:`~clipfed_bench.report.overall.scores.scored`, for fewer than three defenses, and where
    scikit-posthocs is not installed.
    """
    known, _ = scored(to_records(results), find_metrics(MAIN))
    if (count := len(known[0].values)) < 3:
        raise UserError(f"a critical-difference diagram is of three defenses or more; here are {count}.")
    posthocs()
    height = LINE * (count // 2 + 5)
    figure, grid = panels.grid(len(known), 1, height, ())
    for found, (axes,) in zip(known, grid, strict=True):
        _draw(found, axes)
    yield Page("ranks", "Mean ranks", figure, " ".join(map(_shows, known)))


def _draw(found: Scores, axes: Axes) -> None:
    names, ink = list(found.values), rcParams["text.color"]
    # Numbers for names: the library goes through sets of them, whose order differs from process to process for texts.
    ranks = dict(enumerate(mean_ranks(found).values()))
    colors = {i: look.color for i, look in enumerate(looks(names).values())}
    drawn = posthocs().critical_difference_diagram(
        ranks, nemenyi(found), alpha=1 - LEVEL, ax=axes, color_palette=colors, text_h_margin=0.1,
        label_fmt_left="{label}", label_fmt_right="{label}", crossbar_props={"color": ink, "linewidth": 2.5},
    )  # fmt: skip
    for text in drawn["labels"]:
        number = int(text.get_text())
        label, gap = f"{panels.wrapped(names[number], 40)} ({ranks[number]:.2f})", "\N{NO-BREAK SPACE}"
        text.set(text=label + gap if text.get_ha() == "right" else gap + label, color=ink)
    axes.grid(visible=False)
    axes.spines["top"].set_visible(True)
    axes.set_xticks(range(1, len(names) + 1))
    what = f"{found.metric.label}: mean ranks over {len(found.attacks)} settings, 1 is best"
    far = f"critical difference {critical_difference(found):.2f}"
    axes.set_title(f"{what}; {far}", loc="left", fontsize="medium", fontweight="bold", pad=14)


def _shows(found: Scores) -> str:
    ranks = sorted(mean_ranks(found).items(), key=lambda item: item[1])
    listed = panels.listed(f"{name} {rank:.2f}" for name, rank in ranks)
    return f"Mean ranks by {found.metric.label}: {listed}; critical difference {critical_difference(found):.2f}."
