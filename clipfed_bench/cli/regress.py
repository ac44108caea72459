"""``clipfed-bench regress``: did any number move since the reference was made?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfed_bench.cli import options
from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.core.files import check_place, write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from clipfed_bench.execution.places import Places
    from clipfed_bench.report.regression.reference import Reference


def regress(
    preset: Annotated[str, typer.Option("--preset", help="The preset to run, and whose reference it is.")] = "nightly",
    run: Annotated[
        Path | None, typer.Option("--run", help="Compare this run, which is there already, instead of a new one.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Reference; if not given, the preset's in the package.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the new run; results/runs/ and preset, date and time if not given."),
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Cells at a time; one per core.")] = None,
    device: options.DeviceOption = "cpu",
    data_dir: options.DataDirOption = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option("--cache-dir", help="Folder of teachers; in the run folder if not given, so they are trained."),
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Markdown file to write what is shown to.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Make these numbers the reference.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why the reference changes; with --update.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Run a preset, or read a run, and compare it cell by cell with a reference.

    Cells made on a CPU by the same versions on the same kind of processor must be equal; others may differ by what the
    seeds of the reference differ by. The exit status is 1 if a figure moved too far, or a cell failed or is missing. A
    change that is meant is accepted with --update and a --reason.
    """
    from clipfed_bench.config.grid import preset_names
    from clipfed_bench.execution.places import Places
    from clipfed_bench.report.regression.reference import default_path, read_reference, write_reference
    from clipfed_bench.runs.folder import RUNS

    if update and not (reason or "").strip():
        raise UserError("--update needs --reason TEXT: why the numbers changed, or why there are new ones.")
    if reason is not None and not update:
        raise UserError("--reason belongs to --update; without it nothing is written that could state a reason.")
    if run is not None and out is not None:
        raise UserError("--run and --out are both given; --run reads a run, --out is where a new one goes.")
    if preset not in preset_names():  # it becomes part of files' names
        raise unknown("preset", preset, preset_names())
    path = reference or default_path(preset)
    for option, place in (("--report", report), ("--reference", path if update else None)):
        if place is not None:
            check_place(place, option)
    known = None
    if path.exists() or not update:
        try:
            known = read_reference(path)
        except UserError as error:
            if not update:
                raise
            typer.echo(f"warning: {error} It will be replaced.", err=True)
    if run is None:
        # A new folder each time: cells that are done, perhaps by an older version, are no news.
        folder = out or RUNS / f"{preset}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        # By torch's operators, whatever is installed: numbers are compared bit by bit.
        run = _run(preset, Places(folder, device, workers, data_dir, cache_dir, kernels="torch"), quiet)
    found = options.stored_run(run)
    passed = known is None or _show(known, found.results, report)
    if update:
        write_reference(path, found.results, reason or "")
        typer.echo(f"wrote {path}")
    elif not passed:
        raise typer.Exit(1)


def _run(preset: str, places: Places, quiet: bool) -> Path:
    """Run every cell of ``preset`` anew; the folder."""
    from clipfed_bench.cli.running import show_run
    from clipfed_bench.config.grid import load_preset, make_grid
    from clipfed_bench.execution.session import Session

    folder = places.folder
    if (folder / "cells").exists():
        raise UserError(
            f"--out: {folder} holds cells already; name a new folder, or compare these with --run {folder}."
        )
    places = replace(places, cache_dir=places.cache_dir or folder / "cache")
    session = Session(make_grid(load_preset(preset)).cells, places)
    try:
        show_run(session, quiet, tables=False)  # whether cells failed is for the comparison to say
    except typer.Exit:
        go_on = f"clipfed-bench grid --preset {preset} --device {places.device} --kernels torch --out {folder}"
        go_on += f" --cache-dir {places.cache_dir}\n  clipfed-bench regress --run {folder}"
        typer.echo(f"No: that would start anew. To go on:\n  {go_on}", err=True)
        raise
    session.store.export()
    return folder


def _show(known: Reference, results: pd.DataFrame, report: Path | None) -> bool:
    """Print the comparison, and write it to ``report``; whether it passed."""
    from clipfed_bench.report.formats.terminal import show
    from clipfed_bench.report.regression.compare import compare_with
    from clipfed_bench.report.regression.verdict import describe

    comparison = compare_with(known, results)
    verdict = describe(known, comparison, set(results["git_sha"].dropna()) if "git_sha" in results else ())
    if verdict.moved is not None:
        show(verdict.moved)
    typer.echo("\n".join([*verdict.lines, verdict.headline]))
    if report is not None:
        write_atomically(report, verdict.markdown.encode())
        typer.echo(f"wrote {report}")
    return comparison.passed
