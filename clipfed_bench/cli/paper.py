"""``clipfed-bench paper``: the tables and figures of the CLIP-Fed paper, beside what it published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.errors import UserError, unknown

if TYPE_CHECKING:
    from clipfed_bench.config.cell_spec import CellSpec
    from clipfed_bench.execution.session import Session

KNOWN = (*(f"table{n}" for n in range(1, 6)), *(f"fig{n}" for n in range(3, 8)))
UNTRAINED = ("fig4", "fig5")
"""Figures of server data and triggers alone: their cells are never run."""
FULL = "full"


@options.expand(without=("executor", "address", "gpus_per_cell", "checkpoint_every", "cell_timeout"))
def paper(
    *,
    what: Annotated[
        list[str], typer.Argument(help="table1 … table5, fig3 … fig7, or all.", metavar="WHAT...", show_default=False)
    ],
    scale: Annotated[str, typer.Option(help="full is the paper's set-up; cpu is for two CPU cores.")] = FULL,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds; the preset's if not given.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; results/runs/paper or paper-SCALE if not given.")
    ] = None,
    place: options.PlaceOptions,
    dry_run: options.DryRunOption = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="Only render what is stored, however little.")] = False,
    admissible: options.AdmissibleOption = 5.0,
    bounds: options.BoundsOption = False,
    keep_stale: options.KeepStaleOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, just the tables.")] = False,
) -> None:
    """Run or resume what a table or figure of the paper needs, and render it in the paper's layout.

    Each has a preset, paper-table1 and so on. Tables stand beside the published values and the difference, as LaTeX,
    Markdown and parquet; figures are PDF and PNG, with their numbers as parquet. All of them share one run folder, so
    that no cell is run twice. Files are in its folder `paper`. At the CPU scale the teacher is on a pre-trained image
    tower, where the extra lit is installed, else one that knows the server data alone.
    """
    from clipfed_bench.cli.running import show_plan, show_run
    from clipfed_bench.execution.session import Session
    from clipfed_bench.runs.folder import RUNS

    names = _names(what)
    cells = {name: _cells(name, scale, seeds) for name in names}
    trained = [cell for name in names if name not in UNTRAINED for cell in cells[name]]
    folder = out or RUNS / ("paper" if scale == FULL else f"paper-{scale}")
    needed = tuple({cell.key: cell for cell in trained}.values())
    models = [cell.key for cell in cells.get("fig3", ())]
    session = Session(needed, place.places(folder), keep_models=models, keep_stale=keep_stale)
    if dry_run:
        show_plan(session)
        return
    whole = no_run or not needed or show_run(session, quiet, tables=False)
    _render(cells, session, admissible, bounds)  # where cells failed, what is there is rendered all the same
    if not whole:
        raise typer.Exit(1)


def _names(what: Sequence[str]) -> list[str]:
    for name in what:
        if name not in (*KNOWN, "all"):
            raise unknown("table or figure", name, (*KNOWN, "all"))
    return [name for name in KNOWN if name in what or "all" in what]


def _cells(name: str, scale: str, seeds: int | None) -> tuple[CellSpec, ...]:
    from clipfed_bench.config.grid import load_preset, make_grid, seed_range
    from clipfed_bench.execution.needs import with_teacher

    axes = load_preset(f"paper-{name}")
    if scale != FULL and scale not in axes.scales:
        raise unknown("scale", scale, (FULL, *axes.scales))
    axes = axes if scale == FULL else axes.at(scale)
    if scale == "cpu":
        axes = with_teacher(axes)
    return make_grid(axes if seeds is None else axes.override({"seed": seed_range(seeds)})).cells


def _render(cells: Mapping[str, Sequence[CellSpec]], session: Session, admissible: float, bounds: bool) -> None:
    from clipfed_bench.paper.output import write
    from clipfed_bench.report.formats.terminal import show

    missing: list[str] = []
    for name, chosen in cells.items():
        try:
            paths, sheet = write(name, chosen, session.environment, session.store, admissible, bounds)
        except UserError as error:
            missing.append(f"{name} cannot be made: {error}")
            continue
        if sheet is not None:
            show(sheet)
        typer.echo("\n".join(f"wrote {path}" for path in paths))
    if missing:
        raise UserError("\n".join(missing))
