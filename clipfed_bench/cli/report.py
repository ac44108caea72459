"""``clipfed-bench report``: a run as one HTML page; ``clipfed-bench plot``: figures of a run as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.values import split_list
from clipfed_bench.report.plots import KINDS

_HELP = "; ".join(f"{name}: {text}" for name, text in KINDS.items())


def report(
    run: options.RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="File to write, NAME.html; report.html in the run folder if not given.")
    ] = None,
    spread: Annotated[
        options.Spread, typer.Option(help="Beside the means of tables, as for clipfed-bench table.")
    ] = "std",
    against: Annotated[
        str | None,
        typer.Option(
            help="The defense that the others are compared with, paired by seed; fedavg, or the first, if not given.",
            metavar="DEFENSE",
        ),
    ] = None,
    admissible: options.AdmissibleOption = 5.0,
    bounds: options.BoundsOption = False,
) -> None:
    """Write a run as one HTML page: tables, plots, cost, provenance, errors.

    The page needs no network and no other file. It works on runs that are not finished.
    """
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: a file called NAME.html is needed.")
    from clipfed_bench.core.files import check_place, write_atomically
    from clipfed_bench.report.page.html import render

    found = options.stored_run(run)
    path = out or found.folder / "report.html"
    check_place(path, "--out")
    page = render(found.name, found.results, found.history, found.warnings, spread, against, admissible, bounds)
    write_atomically(path, page.encode("utf-8", "replace"))
    typer.echo(f"wrote {path}")


def plot(
    run: options.RunArgument,
    kind: Annotated[str, typer.Argument(help=f"{_HELP}.", show_default=False)],
    format: Annotated[str, typer.Option(help="pdf, png and svg, by commas.")] = "pdf,png",
    out: Annotated[Path | None, typer.Option(help="Folder to write into; the run's if not given.")] = None,
) -> None:
    """Draw a run: KIND.pdf and KIND.png, then KIND-2 and so on where one page is too small.

    Plots against alpha, degree or the malicious share are called by that.
    """
    from clipfed_bench.report.plots import write_plots

    found = options.stored_run(run)
    for path in write_plots(kind, found.results, found.history, out or found.folder, split_list(format)):
        typer.echo(f"wrote {path}")
