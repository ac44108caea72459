"""A part of the page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from clipfed_bench.report import plots
from clipfed_bench.report.formats.sheet import Sheet
from clipfed_bench.report.plots.inline_svg import drawing_inline, inline_svg

DECIMALS = 1
"""Of per cent; the files of ``clipfed-bench table`` have more."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    text: str
    drawings: Sequence[tuple[str, Markup]] = ()
    """Plots by what they are called."""
    grids: Sequence[Sheet] = ()
    notes: Sequence[str] = ()


def drawings(kind: str, results: pd.DataFrame, history: pd.DataFrame) -> list[tuple[str, Markup]]:
    """The plots of ``kind`` by what they are called. Raises UserError as :func:`clipfed_bench.report.plots.pages`."""
    with drawing_inline():
        return [
            (page.title, Markup(inline_svg(page.figure, page.shows, f"{page.stem}-")))
            for page in plots.pages(kind, results, history)
        ]
