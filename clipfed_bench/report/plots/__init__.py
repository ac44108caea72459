"""Plots of a run, one module a kind: ``pages(results, history)`` are its figures.

Frames are those of :meth:`clipfed_bench.runs.store.RunStore.frames`. Means and spreads are those of the tables.
Modules of kinds, and matplotlib with them, are imported when they draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from clipfed_bench.core.errors import unknown

if TYPE_CHECKING:
    import pandas as pd

    from clipfed_bench.report.plots.panels import Page

KINDS = {
    "curves": "MTA and ASR by round",
    "tradeoff": "MTA against ASR, one point a defense and setting",
    "alpha": "MTA and ASR against alpha, degree or the malicious share, whichever varies",
    "ranks": "mean ranks over all settings, critical-difference diagrams",
    "detection": "share of malicious and of benign updates that each defense rejects",
    "cost": "seconds of a round by what they are spent on",
}


def pages(kind: str, results: pd.DataFrame, history: pd.DataFrame) -> Iterator[Page]:
    """Figures that fit a page of paper, to be saved within :func:`clipfed_bench.report.plots.style.drawing`.

    Raises UserError for a kind that does not exist, and where the run has nothing that it could show.
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS)
    return iter(import_module(f"{__name__}.{kind}").pages(results, history))


def write_plots(
    kind: str, results: pd.DataFrame, history: pd.DataFrame, folder: Path, formats: Sequence[str] = ("pdf", "png")
) -> list[Path]:
    """Write ``folder/KIND.pdf`` and so on, ``KIND-2.pdf`` … for what does not fit the first; their paths.

    Errors as for :func:`pages`; UserError for other formats, before anything is drawn or written.
    """
    from clipfed_bench.report.plots import style
    from clipfed_bench.report.tables.table import plain_records
    from clipfed_bench.report.tables.versions import versions

    for format in formats:
        if format not in style.FORMATS:
            raise unknown("format of figures", format, style.FORMATS)
    paths: list[Path] = []
    with style.drawing():
        for page in pages(kind, results, history):
            style.remark(page.figure, versions(plain_records(results)))
            paths += style.save(page.figure, folder, page.stem, formats)
    return paths
