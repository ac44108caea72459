"""A run as it is seen on the command line: what it will do, and what it does."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import typer
from rich.console import Console
from rich.table import Table

from clipfed_bench.cli.progress import LiveDisplay, PlainDisplay, clock
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import USUAL, beside_paper, heading, in_brief, telling
from clipfed_bench.core.console import new_console
from clipfed_bench.core.values import show
from clipfed_bench.core.work_counts import in_words, plural
from clipfed_bench.data.feasible import holdout_size
from clipfed_bench.execution.board import Board
from clipfed_bench.execution.session import Interrupted, Session, Show, Stock
from clipfed_bench.generate.cost import offer


def announce(session: Session) -> None:
    """Print what is smaller than in the paper, how long it will take, and how to have the paper's size."""
    if not session.todo:
        return
    smaller = beside_paper([cell.as_dict() for cell in session.cells])
    estimate = session.estimate()
    total = f"{len(session.todo)} cells, about {clock(estimate.total(session.jobs, session.workers))}"
    where = f"on {plural(session.workers, 'worker')}; {estimate.basis}"
    if smaller:
        typer.echo(f"Scaled down, the paper's in brackets: {', '.join(smaller)}. {total} {where}.")
        typer.echo("The paper's scale, which wants a GPU: --scale paper.")
    else:
        typer.echo(f"The paper's scale: {total} {where}.")
    held_out = sorted({cell.server_data or "" for cell in session.cells if holdout_size(cell.server_data or "")})
    if held_out:
        typer.echo(f"Server data: {', '.join(held_out)}, real images that no client holds, an upper bound.")
        typer.echo("Generated ones: --server-data PATH, or make them (on a GPU if there is one):")
        typer.echo(f"  {offer(session.cells[0].dataset, session.environment.device)}")


def show_plan(session: Session) -> None:
    """Print the cells, what is done already, and how long the rest may take."""
    estimate, out = session.estimate(), new_console()
    seconds = {job.id: estimate.seconds(job) for job in session.jobs}
    varying = [name for name in USUAL if len({getattr(cell, name) for cell in session.cells}) > 1]
    names = list(dict.fromkeys(["dataset", "attack", "defense", *varying, *telling(session.cells)]))
    table = Table(*map(heading, names), "status", "about", title=f"{session.store.folder}")
    for cell in session.cells:
        status = session.statuses.get(cell.key, "to do")
        about = clock(seconds[cell.key]) if cell.key in seconds else ""
        table.add_row(*(show(getattr(cell, name)) for name in names), status, about)
    out.print(table)
    counts = f"{len(session.cells)} cells: {len(session.done)} done, {len(session.todo)} to run"
    out.print(f"{counts}{_before(session)}.", highlight=False)
    if session.stale:
        out.print(session.stale, highlight=False, soft_wrap=True)
    if session.todo:
        total = clock(estimate.total(session.jobs, session.workers))
        out.print(f"About {total} with --workers {session.workers}, {estimate.basis}.", highlight=False)


def _before(session: Session) -> str:
    names = {"data": "data set", "teacher": "teacher", "warmup": "warm-up", "prefix": "prefix"}
    counts = {name: sum(job.stage == stage for job in session.jobs) for stage, name in names.items()}
    parts = [plural(count, name) for name, count in counts.items() if count]
    return f", after {', '.join(parts)}" if parts else ""


def show_run(session: Session, quiet: bool = False, rounds: bool = False, tables: bool = True) -> bool:
    """Run ``session`` and show it, with a line for each round if asked for; then show and write ``tables``.

    Whether no cell failed; which did is said. Raises UserError, and typer.Exit(130) if it is interrupted.
    """
    try:
        session.run(_Shown(session, quiet, rounds, tables), command())
    except Interrupted as stop:
        typer.echo(f"Interrupted. {stop}", err=True)
        raise typer.Exit(130) from None
    failures = session.failures()
    if failures:
        typer.echo(f"{len(failures)} of {len(session.cells)} cells failed.", err=True)
        also = telling(session.cells)
        for error, cells in grouped(failures).items():
            names = in_brief(cells[0], also) + (f" and {plural(len(cells) - 1, 'other')}" if len(cells) > 1 else "")
            typer.echo(textwrap.fill(f"{names}: {error}", 100, subsequent_indent="    "), err=True)
        typer.echo(f"Tracebacks: {session.store.cells}/KEY.json. The same command tries them again.", err=True)
    return not failures


def grouped(failures: Mapping[CellSpec, str]) -> dict[str, list[CellSpec]]:
    """Each reason, and the cells that failed for it."""
    found: dict[str, list[CellSpec]] = {}
    for cell, error in failures.items():
        found.setdefault(error, []).append(cell)
    return found


def command() -> str:
    """What the user typed, to be typed again."""
    return shlex.join(["clipfed-bench", *sys.argv[1:]])


@dataclass
class _Shown:
    session: Session
    quiet: bool
    rounds: bool
    tables: bool
    console: Console = field(default_factory=new_console)

    def began(self, stock: Stock) -> None:
        if stock.done and not self.quiet:
            self.console.print(f"{stock.done} of {stock.cells} cells are done already.", highlight=False)
        if stock.stale:
            typer.echo(stock.stale, err=self.quiet)
        for problem in stock.broken:
            typer.echo(f"warning: {problem}; the cell is run again", err=True)

    def computing(self, board: Board) -> Show:
        if self.quiet:
            return nullcontext(lambda event: None)
        if self.console.is_terminal and self.console.file.isatty() and not self.rounds:
            return LiveDisplay(board, self.console)
        return PlainDisplay(board, typer.echo, self.rounds)

    def finished(self, computed: Mapping[str, int]) -> None:
        if computed and not self.quiet:
            self.console.print(f"Computed: {in_words(computed)}.", highlight=False, soft_wrap=True)
        if self.tables:
            self._show_tables()

    def _show_tables(self) -> None:
        from clipfed_bench import report
        from clipfed_bench.report.formats.terminal import screen

        folder = self.session.store.folder
        results, _ = self.session.store.export(self.session.keys)
        paths = [
            *report.write_tables(folder, report.sheet(results)),
            folder / "results.parquet",
            folder / "history.parquet",
        ]
        self.console.print(screen(report.sheet(results, decimals=1, width=self.console.width)))
        typer.echo("\n".join(f"wrote {path}" for path in paths))
        if not self.quiet and not self.rounds:
            self._show_what_next(shlex.quote(str(folder)))

    def _show_what_next(self, folder: str) -> None:
        typer.echo(f"A page of it all: clipfed-bench report {folder}")
        typer.echo(f"Other rows, columns, metrics: clipfed-bench table {folder} --help")
        first, *others = dict.fromkeys(str(cell.defense) for cell in self.session.cells)
        if others:
            pair = shlex.join(["--defense", others[-1], "--with", first])
            typer.echo(f"Differences seed by seed: clipfed-bench compare {folder} {pair}")
