"""What ``grid --dry-run`` shows."""

from __future__ import annotations

from rich.table import Table

from clipfed_bench.cli.progress import clock
from clipfed_bench.config.words import USUAL, heading, telling
from clipfed_bench.core.console import new_console
from clipfed_bench.core.values import show
from clipfed_bench.core.work_counts import plural
from clipfed_bench.execution.session import Session


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
    if session.todo:
        total = clock(estimate.total(session.jobs, session.workers))
        out.print(f"About {total} with --workers {session.workers}, {estimate.basis}.", highlight=False)


def _before(session: Session) -> str:
    names = {"data": "data set", "teacher": "teacher", "warmup": "warm-up", "prefix": "prefix"}
    counts = {name: sum(job.stage == stage for job in session.jobs) for stage, name in names.items()}
    parts = [plural(count, name) for name, count in counts.items() if count]
    return f", after {', '.join(parts)}" if parts else ""
