"""``clipfed-bench run``: one cell, round by round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.errors import UserError


@options.cell_options(panel="Cell")
def run(
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; results/runs/run if not given.")] = None,
    device: options.DeviceOption = "auto",
    data_dir: options.DataDirOption = None,
    cache_dir: options.CacheDirOption = None,
    precision: options.PrecisionOption = "auto",
    steps: options.StepsOption = "auto",
    streams: options.StreamsOption = None,
    executor: options.ExecutorOption = "local",
    address: options.AddressOption = None,
    gpus_per_cell: options.GpusOption = None,
    **cell: str | None,
) -> None:
    """Run one cell and print its rounds as they come. A cell that is done is only shown."""
    from clipfed_bench.cli.running import show_run
    from clipfed_bench.config.grid import make_grid
    from clipfed_bench.execution.places import Places
    from clipfed_bench.execution.session import Session
    from clipfed_bench.runs.folder import RUNS

    asked = make_grid(options.choose_axes(cell, preset, config))
    if len(asked.cells) != 1:
        count = len(asked.cells)
        raise UserError(f"these settings make {count} cells; give single values, or use 'clipfed-bench grid'.")
    cluster = options.choose_cluster(executor, address, gpus_per_cell, device)
    places = Places(out or RUNS / "run", device, 1, data_dir, cache_dir, cluster=cluster)
    places = replace(places, precision=precision, steps=steps, streams=streams)
    if not show_run(Session(asked.cells, places), rounds=True):
        raise typer.Exit(1)
