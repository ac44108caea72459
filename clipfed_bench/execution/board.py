"""The state of a run, as events change it: what is done, what is running, how long the rest may take. No output."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clipfed_bench.config.words import in_brief, shared_work
from clipfed_bench.core.messages import Progress
from clipfed_bench.execution.jobs import Event, Job


def label(job: Job, also: Sequence[str] = ()) -> str:
    """A job in a few words; ``also`` names settings that a cell's label should have besides the usual ones."""
    return in_brief(job.spec, also) if job.stage == "cell" else shared_work(job.stage, job.spec)


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
        lost = f", {self.step.dropped} updates dropped" if self.step.dropped else ""
        return f"{self.step.stage} {self.step.done}/{self.step.total}{lost}"
