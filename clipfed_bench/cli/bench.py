"""``clipfed-bench bench``: how fast the simulator is on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.cli.options import DeviceOption
from clipfed_bench.core.errors import UserError

BOTH = "both"


def bench(
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Any model, or both: resnet18 and cnn, of which the device's usual one comes first."
        ),
    ] = BOTH,
    dataset: Annotated[
        str, typer.Option("--dataset", help="Data set whose image shape and number of classes made-up images have.")
    ] = "cifar10",
    device: DeviceOption = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything: under two minutes on two cores.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
    markdown_path: Annotated[Path | None, typer.Option("--markdown", help="File for the tables.")] = None,
    images: Annotated[
        int | None,
        typer.Option("--images", min=1, metavar="N", help="Images of a client; all other amounts in proportion."),
    ] = None,
) -> None:
    """Measure the simulator on this machine, next to the machine's limits and two ordinary training loops.

    Training steps, whole rounds part by part, each defense's aggregation, and several processes at once, on made-up
    images; no file is needed. A ratio to the floor says how many times as long it takes as the rates of a matrix
    product and of a copy allow. Other programs on the machine disturb it.
    """
    from clipfed_bench.core.files import check_place
    from clipfed_bench.execution.machine import resolve_device
    from clipfed_bench.execution.worker import THREADS

    _find_benchmarks(Path(__file__).parents[2])
    for option, path in (("--json", json_path), ("--markdown", markdown_path)):
        if path is not None:
            check_place(path, option)
    place = resolve_device(device)
    os.environ.update(THREADS)  # before torch is imported
    from benchmarks import command
    from benchmarks.run import Request

    usual, other = ("resnet18", "cnn") if place == "cuda" else ("cnn", "resnet18")
    models = (usual, other) if model == BOTH else (model,)
    command.bench(Request(place, models, quick, images, dataset), json_path, markdown_path)


def _find_benchmarks(source: Path) -> None:
    """Let ``benchmarks`` be imported from ``source``, the folder that the package lies in. Raises UserError."""
    if not (source / "benchmarks").is_dir() or not (source / "pyproject.toml").is_file():
        raise UserError("bench measures the project itself and is run from its source (make bench).")
    if str(source) not in sys.path:
        sys.path.insert(0, str(source))
