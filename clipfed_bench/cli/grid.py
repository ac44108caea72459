"""``clipfed-bench grid``: many cells, in parallel, into one run folder; ``clipfed-bench run``: one, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.errors import UserError


@options.expand()
def grid(
    *,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    scale: options.ScaleOption = None,
    seeds: options.SeedsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; results/runs/ and the grid's name if not given.")
    ] = None,
    place: options.PlaceOptions,
    dry_run: options.DryRunOption = False,
    skip_failed: Annotated[bool, typer.Option("--skip-failed", help="Leave cells that failed before alone.")] = False,
    keep_stale: options.KeepStaleOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, just the table.")] = False,
    cell: Mapping[str, str | None],
) -> None:
    """Run every combination of the values given, and tabulate MTA and ASR.

    Alone it runs the whole grid, badnets, blend, dba and frequency × alpha 0.5 and 0.1 × fedavg, krum, flame and
    clip-fed × 3 seeds, at the scale that suits the machine; each option takes the place of what the grid has there.

    Cells that are done are skipped, and one that was stopped goes on from its last checkpoint, so the same command goes
    on with an interrupted grid; failed cells are tried again. A cell is stale, and run again, where the source of what
    computed it has changed, or the content of its data. A cell that fails does not stop the others, and makes the
    exit status 1. What can be chosen is shown by `clipfed-bench list`.
    """
    from clipfed_bench.cli.check import look_first
    from clipfed_bench.cli.running import announce, show_plan, show_run
    from clipfed_bench.execution.session import Session
    from clipfed_bench.runs.folder import RUNS

    asked = options.choose_grid(cell, preset, config, seeds, scale, place)
    session = Session(asked.cells, place.places(out or RUNS / asked.name), skip_failed, keep_stale=keep_stale)
    if not dry_run:
        look_first(session)
    if not quiet and preset is None and config is None:
        announce(session)
    if dry_run:
        show_plan(session)
    elif not show_run(session, quiet):
        raise typer.Exit(1)


@options.expand(panel="Cell", without=("workers", "warmups", "checkpoint_every", "cell_timeout"))
def run(
    *,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; results/runs/run if not given.")] = None,
    place: options.PlaceOptions,
    keep_stale: options.KeepStaleOption = False,
    cell: Mapping[str, str | None],
) -> None:
    """Run one cell and print its rounds as they come. A cell that is done, and not stale, is only shown."""
    from clipfed_bench.cli.running import show_run
    from clipfed_bench.config.grid import make_grid
    from clipfed_bench.execution.session import Session
    from clipfed_bench.runs.folder import RUNS

    asked = make_grid(options.choose_axes(cell, preset, config))
    if len(asked.cells) != 1:
        count = len(asked.cells)
        raise UserError(f"these settings make {count} cells; give single values, or use 'clipfed-bench grid'.")
    places = replace(place, workers=1).places(out or RUNS / "run")
    session = Session(asked.cells, places, keep_stale=keep_stale)
    if not show_run(session, rounds=True):
        raise typer.Exit(1)
