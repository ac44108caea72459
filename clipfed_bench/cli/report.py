"""``clipfed-bench report``: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.cli.table import Spread
from clipfed_bench.core.errors import UserError
from clipfed_bench.runs.reading import read_run


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, or a results.parquet.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="File to write, NAME.html; report.html in the run folder if not given.")
    ] = None,
    spread: Annotated[
        Spread, typer.Option(help="Beside the means of tables, as for clipfed-bench table.")
    ] = Spread.std,
    against: Annotated[
        str | None,
        typer.Option(
            help="The defense that the others are compared with, paired by seed; fedavg, or the first, if not given.",
            metavar="DEFENSE",
        ),
    ] = None,
) -> None:
    """Write a run as one HTML page: tables, plots, cost, provenance, errors.

    The page needs no network and no other file. It works on runs that are not finished.
    """
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: a file called NAME.html is needed.")
    from clipfed_bench.core.files import check_place, write_atomically
    from clipfed_bench.report.page.html import render

    found = read_run(run)
    path = out or found.folder / "report.html"
    check_place(path, "--out")
    page = render(found.name, found.results, found.history, found.warnings, spread.value, against)
    write_atomically(path, page.encode("utf-8", "replace"))
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"wrote {path}")
