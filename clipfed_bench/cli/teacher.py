"""``clipfed-bench teacher``: train a small dual encoder of one's own, and measure a teacher."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipfed_bench.cli.options import CacheDirOption, DataDirOption
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.paths import cache_root
from clipfed_bench.core.values import parse_choice

if TYPE_CHECKING:
    from clipfed_bench.teacher.contrastive import Progress
    from clipfed_bench.toolbox.images import Dataset, ServerData

app = typer.Typer(help="Train a teacher on server data, or measure a teacher's accuracy.", no_args_is_help=True)

DatasetOption = Annotated[str, typer.Option("--dataset", help="Data set whose classes the teacher is to know.")]
SERVER_HELP = "Server data: cifar10-generated, glyphs, holdout:N, or a path; generated for the data set if not given."


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", help="Checkpoint to write, NAME.safetensors.")],
    data: Annotated[str | None, typer.Option("--data", help=SERVER_HELP)] = None,
    dataset: DatasetOption = "cifar10",
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the data; by its size if not given.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of initialization, held-out share, batches.")] = 0,
    kind: Annotated[
        Literal["local", "lit"],
        typer.Option("--kind", help="local: from nothing; lit: on a pre-trained image tower (of the extra lit)."),
    ] = "local",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="NAME=VALUE", help="Another option of the recipe, e.g. width=24."),
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Train an open_clip model on captioned server images, on one thread; print its held-out accuracy.

    A tenth of each class is held out. The result depends on data, recipe, seed and image tower alone.
    `--teacher local` and `--teacher lit` do the same by themselves and cache the result.
    """
    from clipfed_bench.teacher.lit_recipe import lit_recipe
    from clipfed_bench.teacher.recipe import recipe

    _, given = parse_choice(f"recipe[{','.join(option or ())}]")
    own: dict[str, object] = {"seed": seed} if epochs is None else {"seed": seed, "epochs": epochs}
    if twice := sorted(given.keys() & own.keys()):
        raise UserError(f"--option: '{twice[0]}' is given twice; --seed and --epochs are options of their own.")
    chosen = recipe({**given, **own}) if kind == "local" else lit_recipe({**given, **own})

    from clipfed_bench.teacher.loading import train_into
    from clipfed_bench.teacher.trained import check_out

    check_out(out, alone=kind == "lit")
    task, load_server = _load(dataset, data, data_dir)
    server = load_server()
    with _shown(kind) as progress:
        trained = train_into(out, server, task.classes, chosen, cache_root(), progress)
    facts = trained.metadata
    typer.echo(
        f"Zero-shot accuracy on {facts['held_out_images']} held-out images ({server.label}): "
        f"{100 * facts['held_out_accuracy']:.2f} % ({facts['recipe']['epochs']} epochs, {facts['seconds']:.0f} s)"
    )
    typer.echo(f"Use it with: --teacher {trained.spec}")


@app.command("eval")
def evaluate(
    spec: Annotated[str, typer.Argument(help="A teacher: open_clip:MODEL/TAG, open_clip:MODEL@FILE, lit or local.")],
    dataset: DatasetOption = "cifar10",
    server_data: Annotated[str | None, typer.Option("--server-data", help=SERVER_HELP)] = None,
    templates: Annotated[str, typer.Option("--templates", help="simple, openai-cifar, or a text file.")] = "simple",
    device: Annotated[str, typer.Option("--device", help="Torch device, e.g. cpu or cuda.")] = "cpu",
    data_dir: DataDirOption = None,
    cache_dir: CacheDirOption = None,
) -> None:
    """Print a teacher's zero-shot accuracy on test images, and on server data.

    The server data is measured for a teacher that is trained on it, and where it is named.
    """
    from clipfed_bench.teacher.prompts import check_templates
    from clipfed_bench.teacher.spec import parse_teacher_spec

    parsed = parse_teacher_spec(spec)
    check_templates(templates)
    _check_device(device)

    from clipfed_bench.teacher.loading import load_teacher

    task, load_server = _load(dataset, server_data, data_dir)
    server = load_server() if parsed.trained or server_data is not None else None
    with _shown(parsed.kind) as progress:
        teacher = load_teacher(
            spec,
            task.classes,
            templates=templates,
            server_data=server,
            device=device,
            cache_dir=cache_dir,
            progress=progress,
        )
    for name, value in teacher.provenance.items():
        typer.echo(f"{name}: {value}")
    with _counted() as teacher.progress:
        accuracy = teacher.accuracy(task.test.images, task.test.labels)
    typer.echo(f"{task.name} test: {100 * accuracy:.2f} %")
    if server is not None:
        note = ", most of it trained on" if parsed.trained else ""
        with _counted() as teacher.progress:
            accuracy = teacher.accuracy(server.data.images, server.data.labels)
        typer.echo(f"server data ({server.label}{note}): {100 * accuracy:.2f} %")


def _shown(kind: str) -> AbstractContextManager[Progress]:
    """A bar for the training of a teacher of that kind."""
    from clipfed_bench.cli.progress import show_steps

    unit = "batches of images and epochs" if kind == "lit" else "epochs of training"
    return show_steps("Training the teacher", unit)


def _counted() -> AbstractContextManager[Progress]:
    """A bar for images that the teacher looks at."""
    from clipfed_bench.cli.progress import show_steps

    return show_steps("Computing the teacher's features", "images")


def _load(dataset: str, spec: str | None, data_dir: Path | None) -> tuple[Dataset, Callable[[], ServerData]]:
    from clipfed_bench.data.catalog import server_data
    from clipfed_bench.data.datasets import load_dataset
    from clipfed_bench.data.server_set.load import load_server_data

    task = load_dataset(dataset, data_dir)
    chosen = spec or server_data(dataset)
    return task, lambda: load_server_data(chosen, task, data_dir)


def _check_device(device: str) -> None:
    """Raise UserError for what is not ``cpu``, ``cuda`` or ``cuda:N``, or is not there."""
    kind, colon, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (colon and not (kind == "cuda" and re.fullmatch("[0-9]{1,3}", index))):
        raise UserError(f"--device: '{shown(device)}' is not a device; write cpu, cuda or cuda:N.")
    if kind == "cuda":
        import torch

        count = torch.cuda.device_count()
        if int(index or 0) >= count:
            raise UserError(f"--device: torch sees {count} GPUs here, so there is no {device}; use cpu.")
