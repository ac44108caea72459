"""What is seen of a grid while it runs: a live display on a terminal, one plain line per event elsewhere.

Both are contexts while it runs, and give what shows an event that the board has taken notice of.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich import progress
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clipfed_bench.core.messages import Progress
from clipfed_bench.execution.board import Board
from clipfed_bench.execution.jobs import Event


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``; with hours from one hour on."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def one_line(text: str) -> str:
    """``text`` without line breaks."""
    return " ".join(text.split())


class Reasons:
    """Why jobs failed, each reason told once: later it is said whose it is."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def told(self, name: str, event: Event) -> str:
        """The reason of ``event``, of the job called ``name``, over lines as it is written."""
        error = event.failure.error.strip() if event.failure else ""
        # What fails for want of shared work has the reason of that, and a word more.
        first = next((first for told, first in self._first.items() if told in error), None)
        if first is not None:
            return f"as {first}"
        if error:
            self._first[error] = name
        return error.replace("\n", "\n    ")


def per_cent(value: float | None) -> str:
    """A fraction in per cent; ``–`` where there is none yet."""
    return "–" if value is None or value != value else f"{100 * value:.1f}"


@contextmanager
def show_steps(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error if it is a terminal, else now and then a line; nothing before the first step.

    What it gives is told how many of all steps are done, which are called ``unit``.
    """
    if not sys.stderr.isatty():
        yield _StepLines(unit)
        return
    columns = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
    bars = progress.Progress(
        progress.TextColumn(title), *columns, console=Console(stderr=True, markup=False), transient=True
    )
    with ExitStack() as stack:

        def step(done: int, total: int) -> None:
            if not bars.tasks:  # what comes before may have a bar of its own, such as a download
                stack.enter_context(bars)
                bars.add_task("", total=total)
            bars.update(bars.task_ids[0], completed=done)

        yield step


class _StepLines:
    """At most one line for each twentieth of the work, with the time that is left."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._first: tuple[int, float] | None = None
        self._next = 0

    def __call__(self, done: int, total: int) -> None:
        self._first = self._first or (done, time.monotonic())
        if done < min(self._next, total):
            return
        self._next = done + max(1, total // 20)
        before, since = self._first
        rate = (time.monotonic() - since) / (done - before) if done > before else 0.0
        left = f", about {clock(rate * (total - done))} left" if rate and done < total else ""
        print(f"{done:,} of {total:,} {self._unit}{left}", file=sys.stderr, flush=True)


class LiveDisplay:
    """A bar for the grid and a line for each running job, redrawn in place."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._reasons = Reasons()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Callable[[Event], None]:
        self._live.__enter__()
        return self._show

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)
        self._console.print(summary(self._board), highlight=False)

    def _show(self, event: Event) -> None:
        """Redrawn soon; only what will not be seen again stays on the screen."""
        if event.kind in ("failed", "retried") and event.failure:
            how = (f"{event.kind} ", "red" if event.kind == "failed" else "yellow")
            name = self._board.label(event.job)
            line = Text.assemble(how, name, ": ", self._reasons.told(name, event))
            self._console.print(line, soft_wrap=True)
        elif event.step is not None and event.step.stage and event.step.note:
            self._console.print(Text(f"{self._board.label(event.job)}: {event.step.note}"), soft_wrap=True)

    def _render(self) -> Group:
        return Group(*render(self._board, self._console.width))


def render(board: Board, width: int) -> list[Table]:
    """The live display's lines."""
    head = Table.grid(padding=(0, 1))
    left = "" if board.left is None else f"about {clock(board.left)} left"
    failed = Text(f"{board.failed} failed", style="red") if board.failed else Text("")
    bar = ProgressBar(total=1.0, completed=board.share, width=max(10, min(40, width - 50)))
    head.add_row(bar, f"{board.done}/{board.cells} cells", failed, clock(board.elapsed), left)
    body = Table.grid(padding=(0, 2), expand=True)
    body.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    wide = width >= 100
    for _ in range(4 if wide else 3):
        body.add_column(justify="right", no_wrap=True)
    for running in tuple(board.running.values()):  # the main thread goes on while this is drawn
        step = running.step
        figures = ("", "")
        if step is not None and step.mta is not None:
            figures = (f"MTA {per_cent(step.mta):>5}", f"ASR {per_cent(step.asr):>5}")
        since = (clock(board.now() - running.since),) if wide else ()
        body.add_row(board.label(running.job), running.position, *figures, *since)
    return [head, body]


class PlainDisplay:
    """A line per event, without control characters."""

    def __init__(self, board: Board, write: Callable[[str], None], rounds: bool = False) -> None:
        self._board = board
        self._write = write
        self._rounds = rounds
        self._reasons = Reasons()

    def __enter__(self) -> Callable[[Event], None]:
        return self._show

    def __exit__(self, *error: object) -> None:
        self._write(summary(self._board))

    def _show(self, event: Event) -> None:
        if line := self._line(event):
            self._write(line)

    def _line(self, event: Event) -> str:
        name, board = self._board.label(event.job), self._board
        count = f"[{board.done + board.failed}/{board.cells}]"
        if event.kind == "started":
            return f"{count} started  {name}"
        if event.kind == "step":
            if event.step is None or not event.step.stage:
                return ""
            if event.step.note:
                return f"{name}: {one_line(event.step.note)}"
            return f"{name}: {_describe(event.step)}" if self._rounds else ""
        if event.kind in ("failed", "retried"):
            return f"{count} {event.kind:8} {name}: {self._reasons.told(name, event)}"
        final = event.outcome.final if event.outcome else {}
        figures = f" MTA {per_cent(final.get('mta'))} ASR {per_cent(final.get('asr'))}" if final else ""
        figures += _dropped(final.get("dropped", 0))
        left = f", about {clock(board.left)} left" if board.left and event.job.stage == "cell" else ""
        return f"{count} done     {name}:{figures} in {event.seconds:.1f} s{left}"


def summary(board: Board) -> str:
    """What the run came to."""
    failed = f", {board.failed} failed" if board.failed else ""
    return f"{board.done} of {board.cells} cells are done{failed}; this run took {clock(board.elapsed)}."


def _describe(step: Progress) -> str:
    figures = "" if step.mta is None else f"  MTA {per_cent(step.mta)}  ASR {per_cent(step.asr)}"
    return f"{step.stage} {step.done}/{step.total}{figures}{_dropped(step.dropped)}"


def _dropped(count: float) -> str:
    return f" ({count:.0f} updates not finite, dropped)" if count else ""
