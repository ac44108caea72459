"""``clipfed-bench compare``: two defenses of a run on the same seeds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.values import split_list


class Format(StrEnum):
    """How the comparison is written."""

    screen = "screen"
    latex = "latex"
    markdown = "markdown"
    csv = "csv"


def compare(
    run: Annotated[Path, typer.Argument(help="Run folder, or a results.parquet.", show_default=False)],
    defense: Annotated[str, typer.Option("--defense", help="A defense of the run, with its options.")],
    other: Annotated[str, typer.Option("--with", help="The defense to subtract.")],
    metrics: Annotated[str, typer.Option(help="What is compared: mta, asr, mta_tail, tpr, seconds_defense …")] = (
        "mta,asr"
    ),
    decimals: Annotated[
        int | None, typer.Option(min=0, max=6, help="Decimals; 1 on the screen and 2 in text if not given.")
    ] = None,
    format: Annotated[Format, typer.Option(help="screen, or text to standard output.")] = Format.screen,
) -> None:
    """Compare two defenses of a run, paired by seed: differences, intervals and p values in every setting."""
    from clipfed_bench.report.compare import compare_defenses
    from clipfed_bench.report.formats import render

    found = options.stored_run(run)
    places = decimals if decimals is not None else 1 if format == Format.screen else 2
    sheet = compare_defenses(found.results, defense, other, split_list(metrics), places)
    if format == Format.screen:
        from clipfed_bench.core.console import new_console
        from clipfed_bench.report.formats.terminal import screen

        new_console().print(screen(sheet))
    else:
        typer.echo(render(sheet, format.value), nl=False)
