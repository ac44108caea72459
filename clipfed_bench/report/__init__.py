"""Tables from the results of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipfed_bench.report.formats import SUFFIXES
from clipfed_bench.runs.metrics import MAIN

if TYPE_CHECKING:
    import pandas as pd

    from clipfed_bench.report.formats.sheet import Sheet


def sheet(
    results: pd.DataFrame,
    rows: Sequence[str] | None = None,
    cols: Sequence[str] = ("defense",),
    metrics: Sequence[str] = MAIN,
    decimals: int = 2,
    spread: str = "std",
    against: str | None = None,
) -> Sheet:
    """A table of ``results`` to be printed; arguments and errors as for ``tables.table``.

    On a terminal one decimal keeps four defenses within 80 characters.
    """
    from clipfed_bench.report.tables.printed import printed
    from clipfed_bench.report.tables.table import table

    return printed(table(results, rows, cols, metrics, decimals, spread, against))


def write_tables(folder: Path, made: Sheet, formats: Sequence[str] = tuple(SUFFIXES)) -> list[Path]:
    """Write ``table.tex``, ``table.md`` and ``table.csv`` into ``folder``; their paths."""
    from clipfed_bench.core.files import write_atomically
    from clipfed_bench.report.formats import render

    paths = []
    for format, text in [(format, render(made, format)) for format in formats]:
        paths.append(folder / f"table.{SUFFIXES[format]}")
        write_atomically(paths[-1], text.encode())
    return paths
