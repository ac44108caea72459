"""``clipfed-bench plot``: figures of a run as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.errors import unknown
from clipfed_bench.core.values import split_list
from clipfed_bench.report.plots import KINDS

_HELP = "; ".join(f"{name}: {text}" for name, text in KINDS.items())


def plot(
    run: Annotated[Path, typer.Argument(help="Run folder, or a results.parquet.", show_default=False)],
    kind: Annotated[str, typer.Argument(help=f"{_HELP}.", show_default=False)],
    format: Annotated[str, typer.Option(help="pdf, png and svg, by commas.")] = "pdf,png",
    out: Annotated[Path | None, typer.Option(help="Folder to write into; the run's if not given.")] = None,
) -> None:
    """Draw a run: KIND.pdf and KIND.png, then KIND-2 and so on where one page is too small.

    Plots against alpha, degree or the malicious share are called by that.
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS)
    from clipfed_bench.report.plots import write_plots

    found = options.stored_run(run)
    for path in write_plots(kind, found.results, found.history, out or found.folder, split_list(format)):
        typer.echo(f"wrote {path}")
