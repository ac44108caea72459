"""What is printed: a sheet, and how it becomes LaTeX, Markdown, CSV or lines on a terminal."""

from __future__ import annotations

from collections.abc import Callable

from clipfed_bench.report.formats.sheet import Sheet

SUFFIXES = {"latex": "tex", "markdown": "md", "csv": "csv"}
"""Format -> suffix of its file."""


def render(sheet: Sheet, format: str) -> str:
    """``sheet`` as ``latex`` (a document), ``markdown`` or ``csv`` (its records in full precision)."""
    from clipfed_bench.report.formats.latex import latex
    from clipfed_bench.report.formats.markdown import csv, markdown

    writers: dict[str, Callable[[Sheet], str]] = {"latex": latex, "markdown": markdown, "csv": csv}
    return writers[format](sheet)
