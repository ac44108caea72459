"""``clipfed-bench list``: what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import typer
from rich.padding import Padding
from rich.text import Text

from clipfed_bench.components.families import members
from clipfed_bench.components.registry import (
    Component,
    Kind,
    attacks,
    broken,
    defenses,
    executors,
    families,
    models,
    partitions,
)
from clipfed_bench.core.console import new_console
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.values import show

app = typer.Typer(
    help="Show attacks, defenses, partitions, data sets, models, metrics, executors, teachers and presets.",
    no_args_is_help=True,
)


@app.command("attacks")
def list_attacks() -> None:
    """Attacks, with their options and defaults."""
    _components("attack", attacks().values())


@app.command("defenses")
def list_defenses() -> None:
    """Defenses, with their options and defaults."""
    _components("defense", defenses().values())


@app.command("partitions")
def list_partitions() -> None:
    """Ways to divide images among clients, with their options and defaults."""
    _components("partition", partitions().values())


@app.command("datasets")
def list_datasets() -> None:
    """Data sets."""
    from clipfed_bench.data.catalog import datasets, registered

    _names(datasets())
    _warn(registered().broken)


@app.command("metrics")
def list_metrics() -> None:
    """What is measured of each cell: columns of its results, and metrics of tables."""
    from clipfed_bench.runs.metric_catalog import added, metrics

    _names({name: metric.meaning for name, metric in metrics().items()})
    _warn(added().broken)


@app.command("models")
def list_models() -> None:
    """Models that clients train, with their options and defaults, and what they are trained with."""
    _components("model", models().values())


@app.command("executors")
def list_executors() -> None:
    """What runs cells, with its options and their defaults."""
    _components("executor", executors().values())


@app.command("presets")
def list_presets() -> None:
    """Grids that come with the package."""
    from clipfed_bench.config.grid import load_preset, make_grid, preset_names
    from clipfed_bench.core.work_counts import plural

    grids = [make_grid(load_preset(name)) for name in preset_names()]
    _names({grid.name: f"{grid.description} ({plural(len(grid.cells), 'cell')})" for grid in grids})


@app.command("teachers")
def list_teachers() -> None:
    """How a teacher is named."""
    _names(
        {
            "open_clip:MODEL/TAG": "open_clip's weights, e.g. open_clip:ViT-L-14/openai, the default for photographs",
            "open_clip:MODEL@PATH": "a checkpoint file for a model of open_clip",
            "lit": "a text tower tuned to a frozen image tower, for photographs on a CPU (clipfed-bench[lit])",
            "local": "a small one, trained on the server data the first time; the default for gray images and digits",
        }
    )


def _names(described: Mapping[str, str]) -> None:
    console = new_console(highlight=False)
    for name, text in described.items():
        console.print(Text(name, style="bold"))
        console.print(Padding(Text(text), (0, 0, 0, 4), expand=False))


def _components(kind: Kind, components: Iterable[Component]) -> None:
    console = new_console(highlight=False)
    for component in (*components, *families(kind).values()):
        console.print(Text(component.name + ":NAME" * component.family, style="bold"))
        for text in (component.summary, *_members(component)):
            console.print(Padding(Text(text), (0, 0, 0, 4), expand=False))
        for option in (*component.options, *component.recipe):
            line = Text.assemble((f"{option.name}={show(option.default)}", "cyan"), "  ", option.doc)
            console.print(Padding(line, (0, 0, 0, 8), expand=False))
    _warn(broken(kind))


def _members(family: Component) -> Iterator[str]:
    """Who is in a family, with the options and defaults of its library, or how to get them."""
    if family.library is None:
        return
    try:
        for name, options in members(family.name, family.library).items():
            pairs = [f"{o.name}={o.annotation.upper() if o.default is ... else show(o.default)}" for o in options]
            yield f"{name}[{','.join(pairs)}]" if pairs else name
    except UserError as error:
        yield str(error)


def _warn(useless: Mapping[str, str]) -> None:
    for reason in useless.values():
        typer.echo(f"warning: {reason}", err=True)
