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
    _spent: float = 0.0
    """Seconds that processes took for what is finished."""
    _dropped: float = 0.0
    _settled: int = 0
    """Jobs that are over."""
    _abreast: int = 1
    """The most jobs that ran at a time."""

    def __post_init__(self) -> None:
        self.started = self.now()

    def handle(self, event: Event) -> None:
        """Take notice of ``event``."""
        job = event.job
        if event.kind == "started":
            self.running[job.id] = Running(job, self.now())
            self._abreast = max(self._abreast, len(self.running))
        elif event.kind == "step":
            if event.step is not None and event.step.stage:
                self.running[job.id].take(event.step)
        elif event.kind == "retried":
            self.running.pop(job.id, None)
        else:
            self._settle(event, self.running.pop(job.id, None))

    def _settle(self, event: Event, ran: Running | None) -> None:
        """``event``: a job is done or has failed, which ``ran`` unless what it needs failed before."""
        job, self._settled = event.job, self._settled + 1
        weight, there = self.jobs.get(job.id, 0.0), 1.0
        if event.kind == "done" and ran is not None and (ran.first is not None or job.stage == "cell"):
            there = ran.there
            self._spent += self.now() - ran.since
        # What was found says nothing about the pace: neither its work nor its time counts.
        self._finished += weight * (1 - there)
        self._dropped += weight * there
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
        """Work done of this run, weighted by expected seconds, in [0, 1]; what was there before is none of it."""
        done, rest, _ = self._work()
        return min(1.0, done / (done + rest)) if done + rest > 0 else 1.0

    @property
    def left(self) -> float | None:
        """Seconds left, from the pace so far; None while too little is done to tell."""
        done, rest, longest = self._work()
        if done <= 0.005 * (done + rest) or self.elapsed <= 3:
            return None
        running = tuple(self.running.values())
        spent = self._spent + sum(self.now() - one.since for one in running if one.share > 0)
        # 1. seconds of a process for a unit of work  2. the rest, well spread  3. but no job is split
        pace = spent / done
        abreast = max(1, min(self._abreast, len(self.jobs) - self._settled))
        return pace * max(rest / abreast, longest)

    def _work(self) -> tuple[float, float, float]:
        """(work done in this run, work that is left, the most that is left of a job that runs)."""
        running = [(self.jobs.get(id, 0.0), one.share, one.there) for id, one in tuple(self.running.items())]
        done = self._finished + sum(weight * share for weight, share, _ in running)
        there = self._dropped + sum(weight * there for weight, _, there in running)
        longest = max((weight * (1 - share - there) for weight, share, there in running), default=0.0)
        return done, max(0.0, sum(self.jobs.values()) - there - done), longest


@dataclass
class Running:
    """A job that a worker is at."""

    job: Job
    since: float
    step: Progress | None = None
    """The latest, for people."""
    _counted: Progress | None = None
    """The latest by which work is measured."""
    first: int | None = None
    """Rounds that were there when it began; None before the first report of one."""

    def take(self, step: Progress) -> None:
        """``step`` is the latest. What a cell does before its first round does not count, nor do images that a teacher
        looks at: nobody knows how often it will."""
        self.step = step
        if step.stage == "features":
            return
        self._counted = step
        if self.first is None and step.total and (self.job.stage != "cell" or step.stage == "round"):
            self.first = max(self._shared, step.done - step.computed.get("round", 0))

    @property
    def share(self) -> float:
        """Rounds played in this run of all, in [0, 1]."""
        return 0.0 if self._counted is None or self.first is None else self._share_of(self._counted.done - self.first)

    @property
    def there(self) -> float:
        """Rounds that were there when it began, of all, in [0, 1]."""
        return 0.0 if self.first is None else self._share_of(self.first - self._shared)

    def _share_of(self, rounds: int) -> float:
        assert self._counted is not None
        own = self._counted.total - self._shared
        return min(1.0, max(0.0, rounds / own)) if own > 0 else 0.0

    @property
    def _shared(self) -> int:
        """Rounds of a cell that are another job, which is expected to take the time for them."""
        apart = self.job.stage == "cell" and any(need.startswith("prefix/") for need in self.job.needs)
        return self.job.spec.prefix_rounds if apart else 0

    @property
    def position(self) -> str:
        """``round 3/30``, or what it is doing before."""
        if self.step is None:
            return "starting"
        lost = f", {self.step.dropped} updates dropped" if self.step.dropped else ""
        return f"{self.step.stage} {self.step.done}/{self.step.total}{lost}"
