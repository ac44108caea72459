"""Command-line options made from the fields of a cell, so that nothing is written twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import Field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich.markup import escape

from clipfed_bench.config.cell_spec import value_type
from clipfed_bench.config.grid import FIELDS, Axes, choose_base, parse_texts, preset_names, seed_range
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.values import show
from clipfed_bench.execution.gpu import Precision, Steps
from clipfed_bench.execution.machine import Device
from clipfed_bench.runs.reading import Run, read_run

if TYPE_CHECKING:
    from clipfed_bench.execution.ray_cluster import Cluster

PANEL = "Cell: every value can be a list (a,b,c)"
SCALE = "Several machines"

PresetOption = Annotated[
    str | None, typer.Option("--preset", help=f"A grid that comes with the package: {', '.join(preset_names())}.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with a grid; keys are called as the options.")
]
ScaleOption = Annotated[
    str | None, typer.Option("--scale", help="One of the scales that the preset or file has, e.g. cpu.")
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where cells run; auto takes a GPU if there is one.")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of data sets; else CLIPFED_BENCH_DATA, else in the cache.")
]
CacheDirOption = Annotated[
    Path | None,
    typer.Option("--cache-dir", help="Folder of teachers; else CLIPFED_BENCH_CACHE, else your cache."),
]

WarmupsOption = Annotated[
    Path | None,
    typer.Option("--warmups", help="Folder of warm-up checkpoints, for runs that share them; else in the run folder."),
]

Executor = Literal["local", "ray"]
ExecutorOption = Annotated[
    Executor,
    typer.Option("--executor", help="Processes of this machine, or of a Ray cluster.", rich_help_panel=SCALE),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Ray cluster, HOST:PORT or auto; else RAY_ADDRESS, else Ray is started here.",
        metavar="ADDRESS",
        rich_help_panel=SCALE,
    ),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-cell",
        help="With Ray: share of a GPU that a cell takes, up to 1; 1 if not given.",
        metavar="X",
        rich_help_panel=SCALE,
    ),
]

PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision", help="Of training and evaluation; auto is bfloat16 on a GPU, float32 (reproducible) on a CPU."
    ),
]
GPU = "On a GPU"
StepsOption = Annotated[
    Steps,
    typer.Option(
        "--steps", help="Training steps one by one, or as CUDA graphs; auto takes graphs.", rich_help_panel=GPU
    ),
]
StreamsOption = Annotated[
    int | None,
    typer.Option(
        "--streams", min=1, help="Clients of a cell that train side by side (default: 4).", rich_help_panel=GPU
    ),
]


def choose_cluster(
    executor: Executor, address: str | None, gpus_per_cell: float | None, device: Device
) -> Cluster | None:
    """The Ray cluster that the user asked for; None for processes of this machine. Raises UserError."""
    from clipfed_bench.execution.ray_cluster import Cluster

    for option, value in (("--address", address), ("--gpus-per-cell", gpus_per_cell)):
        if executor != "ray" and value is not None:
            raise UserError(f"{option} is for cells on a Ray cluster: add --executor ray.")
    if device == "cpu" and gpus_per_cell is not None:
        raise UserError("--gpus-per-cell: with --device cpu, cells take no GPU.")
    return Cluster(address, gpus_per_cell) if executor == "ray" else None


CheckpointOption = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-every",
        min=0,
        metavar="N",
        help="Rounds after which an unfinished cell is kept on disk, 0: never; about every two minutes if not given.",
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--cell-timeout",
        min=1,
        max=1_000_000,
        metavar="SECONDS",
        help="Stop cells that take longer; they count as failed.",
    ),
]


def cell_options(panel: str = PANEL) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: replaces the ``**cell`` of a command by an option for each field of a cell, all of them text."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        parameters = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in own]
        for name, field in FIELDS.items():
            annotation = Annotated[str | None, _option(name, field, panel)]
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(name, kind, default=None, annotation=annotation))
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return command

    return decorate


def choose_axes(
    cell: Mapping[str, str | None],
    preset: str | None = None,
    config: Path | None = None,
    seeds: int | None = None,
    scale: str | None = None,
) -> Axes:
    """What the user asked for: a preset or a file, at a scale if any, with options on top. Raises UserError."""
    if seeds is not None and cell.get("seed") is not None:
        raise UserError("--seed and --seeds are both given; --seeds 3 means --seed 0,1,2, so write one of them.")
    base = choose_base(preset, config, scale)
    try:
        values = parse_texts({name: text for name, text in cell.items() if text is not None})
        if seeds is not None:
            values["seed"] = seed_range(seeds)
    except UserError as error:
        name, _, rest = str(error).partition(":")
        known = name in FIELDS or name == "seeds"
        raise UserError(f"--{name.replace('_', '-')}:{rest}" if known else str(error)) from None
    return base.override(values)


def stored_run(path: Path) -> Run:
    """The run at ``path``, after a warning for each of its files that cannot be read. Raises UserError."""
    found = read_run(path)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return found


def _option(name: str, field: Field[Any], panel: str) -> Any:
    meta = field.metadata
    help = f"{meta['help']} ({show(field.default)}; {meta['origin']})"
    kind = value_type(field).removesuffix(" | None")
    metavar = {"int": "N", "float": "X", "str": "TEXT"}[kind]
    return typer.Option(
        "--" + name.replace("_", "-"), help=escape(help), metavar=metavar, rich_help_panel=panel, show_default=False
    )
