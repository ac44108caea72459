"""``clipfed-bench grid``: many cells, in parallel, into one run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.cli import options


@options.cell_options()
def grid(
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    scale: options.ScaleOption = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Number of seeds: 3 is --seed 0,1,2.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; results/runs/ and the grid's name if not given.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Cells at a time; if not given, one per core, on a GPU as `bench` found."
        ),
    ] = None,
    device: options.DeviceOption = "auto",
    data_dir: options.DataDirOption = None,
    cache_dir: options.CacheDirOption = None,
    warmups: options.WarmupsOption = None,
    precision: options.PrecisionOption = "auto",
    steps: options.StepsOption = "auto",
    streams: options.StreamsOption = None,
    executor: options.ExecutorOption = "local",
    address: options.AddressOption = None,
    gpus_per_cell: options.GpusOption = None,
    checkpoint_every: options.CheckpointOption = None,
    cell_timeout: options.TimeoutOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the cells and how long they may take.")] = False,
    skip_failed: Annotated[bool, typer.Option("--skip-failed", help="Leave cells that failed before alone.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, just the table.")] = False,
    **cell: str | None,
) -> None:
    """Run every combination of the values given, and tabulate MTA and ASR.

    Cells that are done are skipped, and one that was stopped goes on from its last checkpoint, so the same command goes
    on with an interrupted grid; failed cells are tried again. A cell that fails does not stop the others, and makes the
    exit status 1. What can be chosen is shown by `clipfed-bench list`.
    """
    from clipfed_bench.cli.plan import show_plan
    from clipfed_bench.cli.running import show_run
    from clipfed_bench.config.grid import make_grid
    from clipfed_bench.execution.places import Places
    from clipfed_bench.execution.session import Session
    from clipfed_bench.runs.folder import RUNS

    asked = make_grid(options.choose_axes(cell, preset, config, seeds, scale))
    cluster = options.choose_cluster(executor, address, gpus_per_cell, device)
    places = Places(out or RUNS / asked.name, device, workers, data_dir, cache_dir, warmups, cluster)
    places = replace(places, checkpoint_every=checkpoint_every, cell_timeout=cell_timeout)
    places = replace(places, precision=precision, steps=steps, streams=streams)
    session = Session(asked.cells, places, skip_failed)
    if dry_run:
        show_plan(session)
    elif not show_run(session, quiet):
        raise typer.Exit(1)
