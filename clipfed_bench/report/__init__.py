"""Tables from the results of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipfed_bench.runs.metrics import MAIN

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

SUFFIXES = {"latex": "tex", "markdown": "md", "csv": "csv"}
"""Format -> suffix of its file."""


def render(
    format: str,
    results: pd.DataFrame,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] = ("defense",),
    metrics: Sequence[str] = MAIN,
    decimals: int = 2,
    spread: str = "std",
    against: str | None = None,
) -> str:
    """A table of ``results`` as ``latex``, ``markdown`` or ``csv``; arguments and errors as for ``tables.table``."""
    from clipfed_bench.report.formats.latex import render_latex
    from clipfed_bench.report.formats.markdown import render_csv, render_markdown
    from clipfed_bench.report.tables.table import table

    renderer = {"latex": render_latex, "markdown": render_markdown, "csv": render_csv}[format]
    return renderer(table(results, rows, cols, metrics, decimals, spread, against))


def screen(
    results: pd.DataFrame,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] = ("defense",),
    metrics: Sequence[str] = MAIN,
    decimals: int = 1,
    spread: str = "std",
    against: str | None = None,
) -> RenderableType:
    """The same for a rich console; one decimal keeps four defenses within 80 characters."""
    from clipfed_bench.report.formats.terminal import render_screen
    from clipfed_bench.report.tables.table import table

    return render_screen(table(results, rows, cols, metrics, decimals, spread, against))


def write_tables(
    folder: Path,
    results: pd.DataFrame,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] = ("defense",),
    metrics: Sequence[str] = MAIN,
    decimals: int = 2,
    formats: Sequence[str] = tuple(SUFFIXES),
    spread: str = "std",
    against: str | None = None,
) -> list[Path]:
    """Write ``table.tex``, ``table.md`` and ``table.csv`` into ``folder``; their paths. Errors as for ``render``."""
    from clipfed_bench.core.files import write_atomically

    texts = {format: render(format, results, rows, cols, metrics, decimals, spread, against) for format in formats}
    paths = []
    for format, text in texts.items():
        paths.append(folder / f"table.{SUFFIXES[format]}")
        write_atomically(paths[-1], text.encode())
    return paths
