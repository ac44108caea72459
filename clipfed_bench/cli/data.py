"""``clipfed-bench data``: look at a data set and at how it is split among clients."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from clipfed_bench.cli.options import DataDirOption
from clipfed_bench.components.choice import Choice
from clipfed_bench.components.registry import choose
from clipfed_bench.components.scheme import SHARED, own_options
from clipfed_bench.core.console import new_console
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.values import show as written

app = typer.Typer(no_args_is_help=True)

_WIDE = 20
"""More classes than this are not printed one by one."""


@app.callback()
def data() -> None:
    """Look at data sets and at how clients share them."""


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="One that 'clipfed-bench list datasets' shows, e.g. cifar10-lt.")],
    partition: Annotated[
        str | None,
        typer.Option(
            "--partition",
            help="How clients differ, as 'clipfed-bench list partitions' shows; default: degree if --degree is given, "
            "else dirichlet.",
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", help="Dirichlet concentration. [default: 0.5]")] = None,
    degree: Annotated[float | None, typer.Option("--degree", help="Degree of non-IID, 0 to 1. [default: 0.4]")] = None,
    clients: Annotated[int, typer.Option("--clients", help="Number of clients.")] = 20,
    min_samples: Annotated[int, typer.Option("--min-samples", help="Images that every client holds at least.")] = 10,
    imbalance_factor: Annotated[
        float | None, typer.Option("--imbalance-factor", help="Of a -lt data set. [default: 10]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the partition.")] = 0,
    data_dir: DataDirOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Heat map to write. [default: DATASET-SCHEME.png, here]")
    ] = None,
) -> None:
    """Print class counts by client and write a heat map of them."""
    from clipfed_bench.data.catalog import base_name

    base_name(dataset)  # it becomes part of a file's name
    scheme, words = _scheme(partition, alpha, degree)
    path = out or Path(f"{dataset}-{re.sub(r'[^A-Za-z0-9.]+', '-', words).strip('-')}.png")
    if path.suffix.lower() not in (".png", ".pdf", ".svg") or not path.parent.is_dir() or path.is_dir():
        raise UserError(f"--out {shown(path)}: a .png, .pdf or .svg file in a folder that exists is needed.")
    if seed < 0:
        raise UserError(f"--seed: {seed} is out of range; it must be at least 0.")

    from clipfed_bench.data.datasets import load_dataset
    from clipfed_bench.data.heat_map import client_counts, save_heat_map
    from clipfed_bench.data.partition import partition as divide

    loaded = load_dataset(dataset, data_dir, imbalance_factor)
    labels = loaded.train.labels
    writers = loaded.train.writers
    parts = divide(labels, len(loaded.classes), clients, scheme, min_samples=min_samples, seed=seed, writers=writers)
    counts = client_counts(labels, parts, len(loaded.classes))
    console = new_console()
    what = f"{words}, {clients} clients, seed {seed}"
    console.print(_table(counts, loaded.classes, f"{dataset}: {what}"))
    console.print(f"{len(loaded.train):,} training and {len(loaded.test):,} test images from {loaded.source}")
    save_heat_map(counts, loaded.classes, f"{dataset}, {what}", path)
    console.print(f"Heat map: {path}", soft_wrap=True)


def _scheme(partition: str | None, alpha: float | None, degree: float | None) -> tuple[Choice, str]:
    """The partition and what it is called; an option that it does not have is an error, not ignored."""
    text = partition or ("degree" if degree is not None and alpha is None else "dirichlet")
    options = {name: value for name, value in (("alpha", alpha), ("degree", degree)) if value is not None}
    known = choose("partition", text).options
    for name, value in options.items():
        if name not in known:
            raise UserError(f"--{name} {value:g} belongs to other partitions: {text} has no such option.")
    chosen = choose("partition", text, **options)
    own = ",".join(f"{name}={written(value)}" for name, value in own_options(chosen).items())
    label = chosen.name + (f"[{own}]" if own else "")
    values = [f"{name} {written(value)}" for name, value in chosen.options.items() if name in SHARED]
    return chosen, " ".join(values if label == "degree" else [label, *values])


def _table(counts: Any, classes: Sequence[str], title: str) -> Table:
    """Clients by classes with totals; with many classes only how many each client holds."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("client", justify="right", min_width=6)
    wide = len(classes) > _WIDE
    for name in ["classes held", "largest class"] if wide else classes:
        table.add_column(name, justify="right", min_width=5, overflow="fold")
    table.add_column("total", justify="right", style="bold", min_width=6)
    for client, row in enumerate([*counts, counts.sum(axis=0)]):
        if client == len(counts):
            table.add_section()
        largest = f"{classes[int(row.argmax())]} {row.max()}"
        cells = [str(int((row > 0).sum())), largest] if wide else [str(int(c)) if c else "·" for c in row]
        table.add_row("total" if client == len(counts) else str(client), *cells, str(int(row.sum())))
    return table
