"""``clipfed-bench table``: a run's table with other rows, columns or metrics; ``compare``: two defenses by seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.values import split_list
from clipfed_bench.report.formats.sheet import Sheet


def table(
    run: options.RunArgument,
    rows: Annotated[
        str | None, typer.Option(help="Settings of the rows, by commas; attack,alpha (or degree) if not given.")
    ] = None,
    cols: Annotated[str, typer.Option(help="Settings of the columns, by commas.")] = "defense",
    metrics: Annotated[
        str, typer.Option(help="What each place shows: mta, asr, mta_tail, tpr, seconds_defense … See list metrics.")
    ] = "mta,asr",
    decimals: Annotated[
        int | None, typer.Option(min=0, max=6, help="Decimals; 1 on the screen and 2 in files if not given.")
    ] = None,
    spread: Annotated[
        options.Spread,
        typer.Option(
            help="Beside a mean over seeds: standard deviation, 95 % t interval, 95 % bootstrap interval, smallest and "
            "largest, or nothing."
        ),
    ] = "std",
    against: Annotated[
        str | None,
        typer.Option(
            help="A defense of the run: show the others minus that one, paired by seed, instead of their own numbers.",
            metavar="DEFENSE",
        ),
    ] = None,
    admissible: options.AdmissibleOption = 5.0,
    bounds: options.BoundsOption = False,
    aggregate: Annotated[
        bool,
        typer.Option(
            "--aggregate",
            help="Instead: each defense over all settings, with ranks, intervals, probability of improvement (over "
            "--against, or FedAvg) and worst attack.",
        ),
    ] = False,
    format: Annotated[
        Literal["screen", "latex", "markdown", "csv", "all"],
        typer.Option(help="screen, or text to standard output, to a file with --out."),
    ] = "screen",
    out: Annotated[
        Path | None, typer.Option(help="Folder for table.tex, table.md, table.csv; for 'all' the run's if not given.")
    ] = None,
) -> None:
    """Show or write the table of a run: means over seeds, best admissible defense of each row in bold.

    On a screen that is too narrow for its numbers, rows and columns change places unless they are given.
    """
    from clipfed_bench import report
    from clipfed_bench.core.console import new_console
    from clipfed_bench.report.formats import SUFFIXES, render
    from clipfed_bench.report.formats.terminal import show

    if aggregate and (rows is not None or cols != "defense" or spread != "std" or bounds):
        raise UserError("--aggregate has rows and intervals of its own: no --rows, --cols, --spread, --bounds.")
    found = options.stored_run(run)
    left = None if rows is None else split_list(rows)

    def made(usual: int, width: int | None = None) -> Sheet:
        """The table with as many decimals as asked for, or as is ``usual``, in so many characters if it can be."""
        places = usual if decimals is None else decimals
        if aggregate:
            return report.overall_sheet(found.results, split_list(metrics), places, against, admissible)
        shown = split_list(cols), split_list(metrics), places, spread, against, admissible, bounds
        as_asked = rows is not None or cols != "defense"
        return report.sheet(found.results, left, *shown, width=None if as_asked else width)

    if format in ("screen", "all"):
        show(made(1, new_console().width))
    elif out is None:
        typer.echo(render(made(2), format), nl=False)
    if out is None and format != "all":
        return
    formats = tuple(SUFFIXES) if format in ("screen", "all") else (format,)
    for path in report.write_tables(out or found.folder, made(2), formats):
        typer.echo(f"wrote {path}", err=True)


def compare(
    run: options.RunArgument,
    defense: Annotated[str, typer.Option("--defense", help="A defense of the run, with its options.")],
    other: Annotated[str, typer.Option("--with", help="The defense to subtract.")],
    metrics: Annotated[str, typer.Option(help="What is compared: mta, asr, mta_tail, tpr, seconds_defense …")] = (
        "mta,asr"
    ),
    decimals: Annotated[
        int | None, typer.Option(min=0, max=6, help="Decimals; 1 on the screen and 2 in text if not given.")
    ] = None,
    format: Annotated[
        Literal["screen", "latex", "markdown", "csv"], typer.Option(help="screen, or text to standard output.")
    ] = "screen",
) -> None:
    """Compare two defenses of a run, paired by seed: differences, intervals and p values in every setting."""
    from clipfed_bench.report.compare import compare_defenses
    from clipfed_bench.report.formats import render
    from clipfed_bench.report.formats.terminal import show

    found = options.stored_run(run)
    places = decimals if decimals is not None else 1 if format == "screen" else 2
    sheet = compare_defenses(found.results, defense, other, split_list(metrics), places)
    if format == "screen":
        show(sheet)
    else:
        typer.echo(render(sheet, format), nl=False)
