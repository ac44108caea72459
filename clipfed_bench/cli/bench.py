"""``clipfed-bench bench``: how fast the simulator is on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from clipfed_bench.cli.options import DeviceOption

ModelChoice = Literal["cnn", "resnet18", "both"]


def bench(
    model: Annotated[
        ModelChoice, typer.Option("--model", help="What is trained; of both, the ratios are the device's usual one's.")
    ] = "both",
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
    images in CIFAR-10's shapes. A ratio to the floor says how many times as long it takes as the rates of a matrix
    product and of a copy allow. Other programs on the machine disturb it.
    """
    import json

    from rich.console import Console

    from clipfed_bench.core.files import check_place, write_atomically
    from clipfed_bench.execution.gpu import keep_cells_at_a_time
    from clipfed_bench.execution.machine import resolve_device
    from clipfed_bench.execution.worker import THREADS

    for option, path in (("--json", json_path), ("--markdown", markdown_path)):
        if path is not None:
            check_place(path, option)
    place = resolve_device(device)
    os.environ.update(THREADS)  # before torch is imported
    from clipfed_bench.bench import text
    from clipfed_bench.bench.run import Request, measure

    usual, other = ("resnet18", "cnn") if place == "cuda" else ("cnn", "resnet18")
    models = (usual, other) if model == "both" else (model,)
    log = Console(stderr=True, highlight=False)
    result = measure(Request(place, models, quick, images), lambda what: log.print(f"measuring {what}", style="dim"))
    tables = text.sections(result)
    Console().print(text.screen(tables))
    if result["cells_per_gpu"] is not None:
        keep_cells_at_a_time(result["machine"]["device_name"], result["cells_per_gpu"])
    if json_path is not None:
        write_atomically(json_path, (json.dumps(result, indent=1) + "\n").encode())
    if markdown_path is not None:
        write_atomically(markdown_path, text.markdown(tables).encode())
