"""``clipfed-bench check``: is everything there that a grid needs? ``grid`` asks it first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.errors import UserError

if TYPE_CHECKING:
    from clipfed_bench.execution.needs import Need
    from clipfed_bench.execution.session import Session


@options.expand()
def check(
    *,
    preset: options.PresetOption = None,
    config: options.ConfigOption = None,
    scale: options.ScaleOption = None,
    seeds: options.SeedsOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder, as for grid.")] = None,
    place: options.PlaceOptions,
    cell: Mapping[str, str | None],
) -> None:
    """Show what a grid needs: what is there, what will be made or downloaded, and what is missing.

    Takes the options of `clipfed-bench grid`, which looks at the same before it computes anything. The exit status is 0
    if all cells can run, 1 if some cannot, and 2 if none can.
    """
    from rich.table import Table

    from clipfed_bench.cli.running import announce
    from clipfed_bench.core.console import new_console
    from clipfed_bench.execution.needs import missing, needs
    from clipfed_bench.execution.session import Session
    from clipfed_bench.runs.folder import RUNS

    asked = options.choose_grid(cell, preset, config, seeds, scale, place)
    session = Session(asked.cells, place.places(out or RUNS / asked.name))
    if not session.todo:
        typer.echo(f"{len(session.cells)} of {len(session.cells)} cells are done: nothing is needed.")
        return
    if preset is None and config is None:
        announce(session)
    found, table = needs(session), Table("needed", "", "where, or why not", "cells")
    for need in found:
        table.add_row(need.what, need.state, need.detail.splitlines()[0], str(len(need.cells)))
    new_console().print(table)
    lacking = missing(found)
    if lacking:
        _refuse_or_warn(session, lacking)
        raise typer.Exit(1)


def look_first(session: Session) -> None:
    """Before a grid: say once what is missing, and leave out the cells that lack it.

    Raises UserError if they are all cells that are to be run. Of other machines nothing is known.
    """
    from clipfed_bench.execution.needs import missing, needs

    if session.todo and session.places.engine.here:
        _ = session.environment  # what the device cannot do
        lacking = missing(needs(session))
        if lacking:
            session.give_up(_refuse_or_warn(session, lacking))


def _refuse_or_warn(session: Session, lacking: list[Need]) -> dict[str, str]:
    """Key of each cell that cannot run -> why, after a warning; UserError if no cell can."""
    reasons: dict[str, str] = {}
    for need in lacking:
        for key in need.cells:
            reasons.setdefault(key, f"{need.what}: {need.detail}")
    cells = len(session.todo)
    texts = [f"{need.what}, for {len(need.cells)} of {cells} cells: {need.detail}" for need in lacking]
    if any(need.what.startswith("server data") and need.what.endswith("-generated") for need in lacking):
        from clipfed_bench.generate.cost import offer

        texts.append(f"server data can be made:\n  {offer(session.todo[0].dataset, session.environment.device)}")
    if len(reasons) == cells:
        raise UserError("nothing was run, for want of\n" + "\n".join(texts))
    for text in texts:
        typer.echo(f"warning: {text}", err=True)
    typer.echo(f"{len(reasons)} of {cells} cells are left out for that.", err=True)
    return reasons
