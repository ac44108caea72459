"""What is seen of a grid while it runs: a live display on a terminal, one plain line per event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Progress
from clipfed_bench.core.values import show
from clipfed_bench.execution.jobs import Event, Job


class Display(Protocol):
    """Shows events; used as a context."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *error: object) -> None: ...

    def handle(self, event: Event) -> None:
        """Show what happened."""
        ...


USUAL = ("dataset", "partition", "alpha", "degree", "attack", "defense", "seed")
"""Settings that every label of a cell shows."""


def label(job: Job, also: Sequence[str] = ()) -> str:
    """A job in a few words; ``also`` names settings that a cell's label should have besides the usual ones."""
    spec = job.spec
    spread = {"dirichlet": f"α={show(spec.alpha)}", "degree": f"q={show(spec.degree)}"}.get(spec.partition, "iid")
    if job.stage == "data":
        return f"data {spec.dataset}"
    if job.stage == "teacher":
        return f"teacher {spec.teacher} for {spec.dataset}"
    if job.stage == "warmup":
        return f"warm-up {spec.dataset} {spread} seed {spec.seed}"
    if job.stage == "prefix":
        return f"prefix {spec.dataset} {spread} {spec.defense} seed {spec.seed}"
    more = "".join(f" {name}={show(getattr(spec, name))}" for name in also)
    return f"{spec.dataset} {spread} {spec.attack} {spec.defense}{more} seed {spec.seed}"


def telling(cells: Sequence[CellSpec]) -> list[str]:
    """Settings in which cells differ that are alike in the usual ones, so that labels need them."""
    groups: dict[tuple[object, ...], list[CellSpec]] = {}
    for cell in cells:
        groups.setdefault(tuple(getattr(cell, name) for name in USUAL), []).append(cell)
    names = (f.name for f in fields(CellSpec) if f.name not in USUAL)
    return [name for name in names if any(len({getattr(c, name) for c in group}) > 1 for group in groups.values())]


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``; with hours from one hour on."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def one_line(text: str) -> str:
    """``text`` without line breaks."""
    return " ".join(text.split())


def per_cent(value: float | None) -> str:
    """A fraction in per cent; ``–`` where there is none yet."""
    return "–" if value is None or value != value else f"{100 * value:.1f}"


@dataclass
class Board:
    """The state of a run, updated by events. Pure: no output, the clock is handed in."""

    jobs: dict[str, float]
    """Id of each job -> its expected seconds, in any unit: only ratios matter."""
    cells: int
    """Cells of the grid, with those that were done before."""
    done: int = 0
    """Cells done, with those that were done before."""
    failed: int = 0
    also: Sequence[str] = ()
    """Settings that labels show besides the usual ones."""
    now: Callable[[], float] = time.monotonic
    running: dict[str, Running] = field(default_factory=dict)
    started: float = field(init=False)
    _finished: float = 0.0
    _dropped: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.now()

    def handle(self, event: Event) -> None:
        """Take notice of ``event``."""
        job = event.job
        if event.kind == "started":
            self.running[job.id] = Running(job, self.now())
        elif event.kind == "step":
            if event.step is not None and event.step.stage:
                self.running[job.id].step = event.step
        elif event.kind == "retried":
            self.running.pop(job.id, None)
        else:
            self.running.pop(job.id, None)
            weight = self.jobs.get(job.id, 0.0)
            if event.kind == "done":
                self._finished += weight
            else:
                self._dropped += weight
            if job.stage == "cell":
                self.done += event.kind == "done"
                self.failed += event.kind == "failed"

    def label(self, job: Job) -> str:
        """``job`` in a few words."""
        return label(job, self.also)

    @property
    def elapsed(self) -> float:
        """Seconds since the run started."""
        return self.now() - self.started

    @property
    def share(self) -> float:
        """Work done of this run, weighted by expected seconds, in [0, 1]."""
        total = sum(self.jobs.values()) - self._dropped
        under_way = sum(self.jobs.get(id, 0.0) * running.share for id, running in tuple(self.running.items()))
        return min(1.0, (self._finished + under_way) / total) if total else 1.0

    @property
    def left(self) -> float | None:
        """Seconds left, from the pace so far; None while too little is done to tell."""
        share = self.share
        return self.elapsed * (1 - share) / share if share > 0.005 and self.elapsed > 3 else None


@dataclass
class Running:
    """A job that a worker is at."""

    job: Job
    since: float
    step: Progress | None = None

    @property
    def share(self) -> float:
        """Rounds done of all, in [0, 1]; what a cell does before its first round does not count."""
        if self.step is None or self.step.total == 0 or (self.job.stage == "cell" and self.step.stage != "round"):
            return 0.0
        return self.step.done / self.step.total

    @property
    def position(self) -> str:
        """``round 3/30``, or what it is doing before."""
        if self.step is None:
            return "starting"
        return f"{self.step.stage} {self.step.done}/{self.step.total}"


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def handle(self, event: Event) -> None:
        """Nothing."""


class LiveDisplay:
    """A bar for the grid and a line for each running job, redrawn in place."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)
        self._console.print(summary(self._board), highlight=False)

    def handle(self, event: Event) -> None:
        """Redrawn soon; only what will not be seen again stays on the screen."""
        self._board.handle(event)
        if event.kind in ("failed", "retried") and event.failure:
            how = (f"{event.kind} ", "red" if event.kind == "failed" else "yellow")
            line = Text.assemble(how, self._board.label(event.job), ": ", one_line(event.failure.error))
            self._console.print(line, soft_wrap=True)
        elif event.step is not None and event.step.note:
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

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *error: object) -> None:
        self._write(summary(self._board))

    def handle(self, event: Event) -> None:
        """Write the line."""
        before = self._board.running.get(event.job.id)
        last = before.step if before else None
        self._board.handle(event)
        line = self._line(event, last)
        if line:
            self._write(line)

    def _line(self, event: Event, last: Progress | None) -> str:
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
            return f"{count} {event.kind:8} {name}: {one_line(event.failure.error) if event.failure else ''}"
        final = event.outcome.final if event.outcome else {}
        figures = f" MTA {per_cent(final.get('mta'))} ASR {per_cent(final.get('asr'))}" if final else ""
        left = f", about {clock(board.left)} left" if board.left and event.job.stage == "cell" else ""
        return f"{count} done     {name}:{figures} in {event.seconds:.1f} s{left}"


def summary(board: Board) -> str:
    """What the run came to."""
    failed = f", {board.failed} failed" if board.failed else ""
    return f"{board.done} of {board.cells} cells are done{failed}; this run took {clock(board.elapsed)}."


def _describe(step: Progress) -> str:
    figures = "" if step.mta is None else f"  MTA {per_cent(step.mta)}  ASR {per_cent(step.asr)}"
    return f"{step.stage} {step.done}/{step.total}{figures}"
