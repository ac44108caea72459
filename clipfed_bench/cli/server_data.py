"""``clipfed-bench server-data``: make a server data set with a text-to-image model, and look at its prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from clipfed_bench.core.errors import UserError
from clipfed_bench.execution.machine import Device, resolve_device
from clipfed_bench.generate.models import DEFAULT_MODEL, DEFAULT_PER_CLASS, Dtype, known_model

app = typer.Typer(no_args_is_help=True, help="Make a server data set with a text-to-image model.")

_GPU_BATCH = 4
"""Images drawn together on a GPU: about 5 GB for the default model in half precision [ours]."""


def _by_device(defaults: Mapping[str, object]) -> str:
    return f"{defaults['cuda']} on a GPU, {defaults['cpu']} on a CPU"


DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Data set whose classes are drawn; cifar10 if neither is given.")
]
ClassesOption = Annotated[str | None, typer.Option("--classes", help="Or class names, by commas.", metavar="A,B,C")]
TemplatesOption = Annotated[
    str | None,
    typer.Option("--templates", help="Own prompts: a text file, one a line, {} for the class name; else built-in."),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of prompts and noise.")]


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="File to write, NAME.parquet.")],
    dataset: DatasetOption = None,
    classes: ClassesOption = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", help=f"Images of each class; {_by_device(DEFAULT_PER_CLASS)}.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help=f"Text-to-image model: an id on the Hugging Face hub, or a folder; {_by_device(DEFAULT_MODEL)}.",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit of a model on the hub.")
    ] = None,
    templates: TemplatesOption = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Denoising steps; what suits the model if not given.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="Classifier-free guidance; what suits the model if not given.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="Side of drawn images, pixels; what suits the model if not given.")
    ] = None,
    image_size: Annotated[int, typer.Option("--image-size", help="Side of stored images, pixels.")] = 32,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help=f"Images drawn together; {_GPU_BATCH} on a GPU, 1 on a CPU.")
    ] = None,
    seed: SeedOption = 0,
    device: Annotated[
        Device, typer.Option("--device", help="Where images are drawn; auto takes a GPU if there is one.")
    ] = "auto",
    dtype: Annotated[Dtype, typer.Option("--dtype", help="Precision; auto is float32 on a CPU, 16 bits on a GPU.")] = (
        "auto"
    ),
) -> None:
    """Draw images of each class from prompts; write them, with their prompts as captions, to a parquet file.

    The same command goes on with an interrupted one. Needs: pip install 'clipfed-bench\\[generate]'.
    """
    from clipfed_bench.cli.progress import show_steps
    from clipfed_bench.generate.cost import told
    from clipfed_bench.generate.settings import Settings

    place = resolve_device(device)
    settings = Settings(
        classes=_classes(dataset, classes),
        per_class=DEFAULT_PER_CLASS[place] if per_class is None else per_class,
        model=model or DEFAULT_MODEL[place],
        revision=revision,
        steps=steps,
        guidance=guidance,
        size=size,
        image_size=image_size,
        seed=seed,
        dtype=dtype,
        templates=_templates(templates),
    )
    from clipfed_bench.generate.run import check, make

    together = (1 if place == "cpu" else _GPU_BATCH) if batch_size is None else batch_size
    check(out, together)
    if settings.templates is not None and len(settings.templates) < settings.per_class:
        note = f"{len(settings.templates)} prompts for {settings.per_class} images of each class: images share prompts."
        typer.echo(f"Note: {note}", err=True)
    if known_model(settings.model) and not out.exists():
        typer.echo(f"{told(settings, place)}.", err=True)
    typer.echo(f"Loading {settings.model} ...", err=True)
    try:
        with show_steps("Drawing images", "images") as progress:
            made = make(settings, out, place, together, progress)
    except KeyboardInterrupt:
        from clipfed_bench.cli.running import command

        kept = f"Finished images are kept in {out}.parts; to go on" if Path(f"{out}.parts").exists() else "To try again"
        typer.echo(f"Interrupted. {kept}:\n  {command()}", err=True)
        raise typer.Exit(130) from None
    redrawn = f"; {made.redraws} blank or filtered results were drawn again" if made.redraws else ""
    state = "wrote" if made.drawn else "complete already:"
    typer.echo(f"{state} {out}: {made.images:,} images of {len(settings.classes)} classes{redrawn}")
    typer.echo(f"Use it with: --server-data {out}")


@app.command()
def prompts(
    dataset: DatasetOption = None,
    classes: ClassesOption = None,
    per_class: Annotated[int, typer.Option("--per-class", help="Prompts of each class.")] = 3,
    templates: TemplatesOption = None,
    seed: SeedOption = 0,
) -> None:
    """Print the prompts that images would be drawn from, without drawing them."""
    from clipfed_bench.generate.prompts import class_prompts, pick

    for option, value, least in (("--per-class", per_class, 1), ("--seed", seed, 0)):
        if value < least:
            raise UserError(f"{option} {value}: at least {least} is needed.")
    own = _templates(templates)
    for name in _classes(dataset, classes):
        texts = class_prompts(name, seed, own)
        for index in range(per_class):
            typer.echo(f"{name}: {pick(texts, index)}")


def _classes(dataset: str | None, names: str | None) -> tuple[str, ...]:
    from clipfed_bench.data.catalog import info

    if dataset is not None and names is not None:
        raise UserError("--dataset and --classes are both given; the classes come from one of them.")
    if names is not None:
        return tuple(name.strip() for name in names.split(","))
    return info(dataset or "cifar10").classes


def _templates(choice: str | None) -> tuple[str, ...] | None:
    from clipfed_bench.teacher.prompts import load_templates

    return None if choice is None else load_templates(choice)
