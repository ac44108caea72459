"""Tables from the results of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfed_bench.core.files import write_atomically
from clipfed_bench.report.formats import SUFFIXES, render
from clipfed_bench.report.formats.sheet import Sheet

if TYPE_CHECKING:
    import pandas as pd


def sheet(results: pd.DataFrame, *given: Any, width: int | None = None, **options: Any) -> Sheet:
    """A table of ``results`` to be printed; all else, and errors, as for :func:`.tables.table.table`.

    On a terminal one decimal keeps four defenses within 80 characters. Where numbers would be broken in ``width``
    characters, rows are taken for columns if that is less wide.
    """
    from clipfed_bench.report.formats.terminal import least_width
    from clipfed_bench.report.tables.printed import printed, turned
    from clipfed_bench.report.tables.table import table

    made = table(results, *given, **options)
    found = printed(made)
    if width is None or made.tall or least_width(found) <= width:
        return found
    return min(found, printed(turned(made)), key=least_width)


def overall_sheet(results: pd.DataFrame, *given: Any, **options: Any) -> Sheet:
    """Defenses over all settings, to be printed; all else, and errors, as for :func:`.overall.sheet.overall`."""
    from clipfed_bench.report.overall.sheet import overall

    return overall(results, *given, **options)


def write_tables(folder: Path, made: Sheet, formats: Sequence[str] = tuple(SUFFIXES)) -> list[Path]:
    """Write ``table.tex``, ``table.md`` and ``table.csv`` into ``folder``; their paths."""
    paths = []
    for format in formats:
        paths.append(folder / f"table.{SUFFIXES[format]}")
        write_atomically(paths[-1], render(made, format).encode())
    return paths
