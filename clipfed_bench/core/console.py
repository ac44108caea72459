"""Where tables are printed: as wide as the terminal, and as wide as they are where nothing limits them."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_UNLIMITED = 10_000
"""Columns: more than any table has; a file, a pipe and a log break no lines."""


def new_console(highlight: bool = True) -> Console:
    """Standard output, for rich; ``COLUMNS`` says another width. An option in brackets is text, and no style."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return Console(highlight=highlight, markup=False)
    return Console(highlight=highlight, markup=False, width=_UNLIMITED, height=25)
