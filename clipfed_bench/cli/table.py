"""``clipfed-bench table``: a run's table again, with other rows, columns, metrics, decimals or formats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.values import split_list

if TYPE_CHECKING:
    from clipfed_bench.report.formats.sheet import Sheet


class Format(StrEnum):
    """How a table is written; ``all`` is the screen and every file."""

    screen = "screen"
    latex = "latex"
    markdown = "markdown"
    csv = "csv"
    all = "all"


class Spread(StrEnum):
    """What stands beside a mean."""

    std = "std"
    ci = "ci"
    bootstrap = "bootstrap"
    range = "range"
    none = "none"


def table(
    run: Annotated[Path, typer.Argument(help="Run folder, or a results.parquet.", show_default=False)],
    rows: Annotated[
        str | None, typer.Option(help="Settings of the rows, by commas; attack,alpha (or degree) if not given.")
    ] = None,
    cols: Annotated[str, typer.Option(help="Settings of the columns, by commas.")] = "defense",
    metrics: Annotated[
        str, typer.Option(help="What each place shows: mta, asr, mta_tail, asr_tail, tpr, fpr, seconds_defense …")
    ] = "mta,asr",
    decimals: Annotated[
        int | None, typer.Option(min=0, max=6, help="Decimals; 1 on the screen and 2 in files if not given.")
    ] = None,
    spread: Annotated[
        Spread,
        typer.Option(
            help="Beside a mean over seeds: standard deviation, 95 % t interval, 95 % bootstrap interval, smallest and "
            "largest, or nothing."
        ),
    ] = Spread.std,
    against: Annotated[
        str | None,
        typer.Option(
            help="A defense of the run: show the others minus that one, paired by seed, instead of their own numbers.",
            metavar="DEFENSE",
        ),
    ] = None,
    format: Annotated[
        Format, typer.Option(help="screen, or text to standard output, to a file with --out.")
    ] = Format.screen,
    out: Annotated[
        Path | None, typer.Option(help="Folder for table.tex, table.md, table.csv; for 'all' the run's if not given.")
    ] = None,
) -> None:
    """Show or write the table of a run: means over seeds, best defense of each row in bold."""
    from clipfed_bench import report
    from clipfed_bench.report.formats import SUFFIXES, render

    found = options.stored_run(run)
    left = None if rows is None else split_list(rows)

    def made(usual: int) -> Sheet:
        """The table with as many decimals as asked for, or as is ``usual``."""
        places = usual if decimals is None else decimals
        return report.sheet(found.results, left, split_list(cols), split_list(metrics), places, spread.value, against)

    if format in (Format.screen, Format.all):
        from clipfed_bench.core.console import new_console
        from clipfed_bench.report.formats.terminal import screen

        new_console().print(screen(made(1)))
    elif out is None:
        typer.echo(render(made(2), format.value), nl=False)
    if out is None and format != Format.all:
        return
    formats = tuple(SUFFIXES) if format in (Format.screen, Format.all) else (format.value,)
    for path in report.write_tables(out or found.folder, made(2), formats):
        typer.echo(f"wrote {path}", err=True)
