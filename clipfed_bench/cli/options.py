"""Command-line options that several commands have, each written once: fields of a cell, and of where it is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich.markup import escape

from clipfed_bench.config.cell_spec import value_type
from clipfed_bench.config.grid import (
    FIELDS,
    Axes,
    GridSpec,
    choose_base,
    make_grid,
    parse_texts,
    preset_names,
    seed_range,
)
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.values import show
from clipfed_bench.execution.gpu import Kernels, Precision, Steps
from clipfed_bench.execution.machine import Device
from clipfed_bench.models.catalog import OF_MODEL
from clipfed_bench.runs.reading import Run, read_run

if TYPE_CHECKING:
    from clipfed_bench.execution.places import Places

PANEL = "Cell: every value can be a list (a,b,c)"
SCALE = "Several machines"
GPU = "On a GPU"

RunArgument = Annotated[Path, typer.Argument(help="Run folder, or a results.parquet.", show_default=False)]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help=f"A grid that comes with the package: {', '.join(preset_names())}.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with a grid; keys are called as the options.")
]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        "--scale",
        help="cpu: small enough for two cores; paper: the paper's set-up, for a GPU; auto, also if not given: what the "
        "device is good for. With --preset or --config one of its scales; none if not given.",
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show the cells and how long they may take.")]
SeedsOption = Annotated[int | None, typer.Option("--seeds", help="Number of seeds: 3 is --seed 0,1,2.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where cells run; auto takes a GPU if there is one.")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of data sets; else CLIPFED_BENCH_DATA, else in the cache.")
]
CacheDirOption = Annotated[
    Path | None, typer.Option("--cache-dir", help="Folder of teachers; else CLIPFED_BENCH_CACHE, else your cache.")
]
Spread = Literal["std", "ci", "bootstrap", "range", "none"]
"""What stands beside a mean."""

BoundsOption = Annotated[
    bool, typer.Option("--bounds", help="Beside a share of 0.00 its 95 % binomial bound (Wilson).")
]

AdmissibleOption = Annotated[
    float,
    typer.Option(
        "--admissible",
        min=0,
        max=100,
        help="Bold only among defenses whose MTA is at most so many points below FedAvg's without an attack; 100: all.",
        metavar="POINTS",
    ),
]


@dataclass(frozen=True)
class PlaceOptions:
    """Where cells are computed: each field is an option of the commands that compute (see :func:`expand`)."""

    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Cells at a time; if not given, one per core, on a GPU as `bench` found."),
    ] = None
    device: DeviceOption = "auto"
    data_dir: DataDirOption = None
    cache_dir: CacheDirOption = None
    warmups: Annotated[
        Path | None,
        typer.Option(help="Folder of warm-up checkpoints, for runs that share them; else in the run folder."),
    ] = None
    precision: Annotated[
        Precision,
        typer.Option(help="Of training and evaluation; auto is bfloat16 on a GPU, float32 (reproducible) on a CPU."),
    ] = "auto"
    kernels: Annotated[
        Kernels,
        typer.Option(
            help="Of the small CNN on a CPU: torch's operators, or what numba compiles (clipfed-bench\\[fast]), a few "
            "times as fast and other in last bits; auto takes that where it is installed."
        ),
    ] = "auto"
    steps: Annotated[
        Steps,
        typer.Option(help="Training steps one by one, or as CUDA graphs; auto takes graphs.", rich_help_panel=GPU),
    ] = "auto"
    streams: Annotated[
        int | None,
        typer.Option(min=1, help="Clients of a cell that train side by side (default: 4).", rich_help_panel=GPU),
    ] = None
    executor: Annotated[
        str,
        typer.Option(
            help="What runs cells: local (processes of this machine), ray, submitit (Slurm) or another one, with its "
            "options; see list executors.",
            metavar="NAME",
            rich_help_panel=SCALE,
        ),
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster, HOST:PORT or auto; else RAY_ADDRESS, else Ray is started here.",
            metavar="ADDRESS",
            rich_help_panel=SCALE,
        ),
    ] = None
    gpus_per_cell: Annotated[
        float | None,
        typer.Option(
            help="With Ray: share of a GPU that a cell takes, up to 1; 1 if not given.",
            metavar="X",
            rich_help_panel=SCALE,
        ),
    ] = None
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            help="Rounds after which an unfinished cell is kept on disk, 0: never; about every two minutes if not "
            "given.",
            min=0,
            metavar="N",
        ),
    ] = None
    cell_timeout: Annotated[
        float | None,
        typer.Option(
            help="Stop cells that take longer; they count as failed.", min=1, max=1_000_000, metavar="SECONDS"
        ),
    ] = None

    @property
    def runs(self) -> str:
        """The executor with its options, also those that are options of the command. Raises UserError."""
        from clipfed_bench.components.registry import choose

        own = {"address": self.address, "gpus_per_cell": self.gpus_per_cell}
        given = {name: value for name, value in own.items() if value is not None}
        for name in given.keys() - choose("executor", self.executor).options:
            raise UserError(f"--{name.replace('_', '-')} is for cells on a Ray cluster: add --executor ray.")
        if self.device == "cpu" and self.gpus_per_cell is not None:
            raise UserError("--gpus-per-cell: with --device cpu, cells take no GPU.")
        return str(choose("executor", self.executor, **given))

    def places(self, folder: Path) -> Places:
        """What was chosen, for a run in ``folder``. Raises UserError."""
        from clipfed_bench.execution.places import Places

        of_cluster = ("executor", "address", "gpus_per_cell")
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in of_cluster}
        return Places(folder, executor=self.runs, **chosen)


KeepStaleOption = Annotated[
    bool,
    typer.Option("--keep-stale", help="Keep cells that are done though what they were computed from has changed."),
]


def expand(panel: str = PANEL, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: replaces two parameters of a command by options, and gives it their values in them.

    ``place``, a :class:`PlaceOptions`, becomes an option for each of its fields but those ``without``; ``cell``, a
    mapping, one for each field of a cell, all of them text, in a ``panel`` of the help.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        kinds = get_type_hints(PlaceOptions, include_extras=True)
        of_place = [_parameter(f.name, kinds[f.name], f.default) for f in fields(PlaceOptions) if f.name not in without]
        of_cell = [_parameter(name, _cell_option(name, field, panel)) for name, field in FIELDS.items()]
        hints = get_type_hints(command, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for name, own in inspect.signature(command).parameters.items():
            expanded = {"place": of_place, "cell": of_cell}.get(name)
            parameters += expanded or [_parameter(name, hints[name], own.default)]

        @wraps(command)
        def call(**values: Any) -> None:
            values["place"] = PlaceOptions(**{option.name: values.pop(option.name) for option in of_place})
            if "cell" in hints:
                values["cell"] = {option.name: values.pop(option.name) for option in of_cell}
            command(**values)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return call

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


def choose_grid(
    cell: Mapping[str, str | None],
    preset: str | None,
    config: Path | None,
    seeds: int | None,
    scale: str | None,
    place: PlaceOptions,
) -> GridSpec:
    """The cells that the user asked for, of the whole grid at a scale that suits the device if no other is named.

    The whole grid takes what gray images need, and at the CPU scale held-out images where there are no generated ones.
    At that scale it and every preset take the best teacher that is installed. Raises UserError.
    """
    from clipfed_bench.execution.executor import make_executor
    from clipfed_bench.execution.needs import for_gray, with_server_data, with_teacher

    whole = preset is None and config is None
    if scale == "auto" or (scale is None and whole):
        scale = "cpu" if make_executor(place.runs).device(place.device) == "cpu" else "paper"
    axes = choose_axes(cell, preset, config, seeds, scale)
    if whole:
        axes = for_gray(axes, [name for name, text in cell.items() if text is not None])
    if whole and scale == "cpu":
        axes = with_server_data(axes, place.data_dir)
    if config is None and scale == "cpu" and cell.get("teacher") is None:  # a file means what it says
        axes = with_teacher(axes)
    return make_grid(axes)


def stored_run(path: Path) -> Run:
    """The run at ``path``, after a warning for each of its files that cannot be read. Raises UserError."""
    found = read_run(path)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return found


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _cell_option(name: str, field: Field[Any], panel: str) -> Any:
    meta = field.metadata
    default = "as the model wants" if name in OF_MODEL else f"{show(field.default)}; {meta['origin']}"
    help = escape(f"{meta['help']} ({default})")
    metavar = {"int": "N", "float": "X", "str": "TEXT"}[value_type(field).removesuffix(" | None")]
    option = "--" + name.replace("_", "-")
    about = typer.Option(option, help=help, metavar=metavar, rich_help_panel=panel, show_default=False)
    return Annotated[str | None, about]
