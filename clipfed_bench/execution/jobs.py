"""Jobs, what they need, and the order in which they may run. Pure: no processes, no torch.

Cells share work: a data set that may have to be downloaded, a teacher, a clean warm-up, the rounds before the attack.
Each is a job of its own that runs once, before the jobs that need it. If it fails, so do they, with its traceback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult, Progress
from clipfed_bench.data.catalog import base_name, info

Stage = Literal["data", "teacher", "warmup", "prefix", "cell"]
STAGES: tuple[Stage, ...] = ("data", "teacher", "warmup", "prefix", "cell")
"""In the order in which they are done."""


@dataclass(frozen=True)
class Job:
    """One piece of work for one worker."""

    id: str
    stage: Stage
    spec: CellSpec
    """The cell; for shared work, any one of those that share it."""
    needs: tuple[str, ...] = ()
    """Ids of the jobs that have to succeed before."""
    lock: str = ""
    """Jobs with the same lock do not run at the same time: they might write the same files."""
    alone: bool = False
    """It runs while no other job does: it is tried once more, after memory ran out."""


@dataclass(frozen=True)
class Failure:
    """Why a job has no outcome."""

    error: str
    """One line for people."""
    traceback: str
    memory: bool = False
    """Memory ran out, or seems to have: alone on the machine it may go better."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    kind: Literal["started", "step", "done", "failed", "retried"]
    """``retried``: it was lost for a reason outside of it, has a failure that says why, and will be started again."""
    job: Job
    step: Progress | None = None
    outcome: CellResult | None = None
    """Of a cell that is done."""
    failure: Failure | None = None
    seconds: float = 0.0
    """Wall time since the job started, for done and failed."""


def plan(cells: Iterable[CellSpec]) -> list[Job]:
    """Jobs for ``cells``: distinct data sets, teachers, warm-ups and prefixes, then the cells in their order.

    Rounds before the attack are a job where several cells share them; a cell that is alone in them plays them itself.
    """
    cells = list(cells)
    sharing = Counter(cell.prefix_key for cell in cells if cell.prefix_rounds > 0)
    found: dict[str, Job] = {}
    for cell in cells:
        for job in _jobs(cell, cell.prefix_rounds > 0 and sharing[cell.prefix_key] > 1):
            found.setdefault(job.id, job)
    return sorted(found.values(), key=lambda job: STAGES.index(job.stage))


def _jobs(cell: CellSpec, shares_prefix: bool) -> list[Job]:
    """The cell's own job, after those it needs."""
    jobs: list[Job] = []
    base = base_name(cell.dataset)
    if not info(base).embedded:  # two processes must not download it at once; an embedded one needs no such care
        jobs.append(Job(f"data/{base}", "data", cell))
    data = tuple(job.id for job in jobs)
    if cell.teacher is not None:
        names = ("dataset", "imbalance_factor", "teacher", "templates", "server_data", "server_per_class")
        id = "teacher/" + "/".join(str(getattr(cell, name)) for name in names)
        jobs.append(Job(id, "teacher", cell, data, lock=f"teacher/{cell.teacher}"))
    if cell.warmup_rounds > 0:
        jobs.append(Job(f"warmup/{cell.warmup_key}", "warmup", cell, data))
    if shares_prefix:
        jobs.append(Job(f"prefix/{cell.prefix_key}", "prefix", cell, tuple(job.id for job in jobs)))
    return [*jobs, Job(cell.key, "cell", cell, tuple(job.id for job in jobs))]


class Schedule:
    """Which job is next. Earlier jobs of the list come first, as soon as what they need has succeeded.

    Jobs that are to run alone come when nothing else can, one by one.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting: dict[str, Job] = {job.id: job for job in jobs}
        self._running: dict[str, Job] = {}

    @property
    def left(self) -> int:
        """How many jobs are waiting or run."""
        return len(self._waiting) + len(self._running)

    def start(self) -> Job | None:
        """The next job that can run now; from here on it counts as running. None: nothing can."""
        running = self._running.values()
        if any(job.alone for job in running):
            return None
        locks = {job.lock for job in running} - {""}
        ready = [
            job
            for job in self._waiting.values()
            if job.lock not in locks and not any(need in self._waiting or need in self._running for need in job.needs)
        ]
        chosen = next((job for job in ready if not job.alone), ready[0] if ready and not self._running else None)
        if chosen is not None:
            self._running[chosen.id] = self._waiting.pop(chosen.id)
        return chosen

    def succeed(self, job: Job) -> None:
        """``job`` is done."""
        del self._running[job.id]

    def settle(self, job: Job, failure: Failure, seconds: float = 0.0) -> list[Event]:
        """What follows from ``failure`` of a running ``job``: another try, or its end and that of all that need it.

        There is one other try, alone, for memory that ran out.
        """
        del self._running[job.id]
        if failure.memory and not job.alone:
            self._waiting = {job.id: replace(job, alone=True)} | self._waiting  # before what needs it
            error = f"{failure.error}; it is tried once more, alone"
            return [Event("retried", job, failure=replace(failure, error=error), seconds=seconds)]
        if failure.memory:
            failure = replace(failure, error=f"{failure.error}; it was tried twice, the second time alone")
        what = {"data": "data set", "teacher": "teacher", "warmup": "warm-up", "prefix": "prefix"}.get(job.stage, "job")
        reason = Failure(f"the {what} that it needs failed: {failure.error}", failure.traceback)
        lost, events = {job.id}, [Event("failed", job, failure=failure, seconds=seconds)]
        for other in list(self._waiting.values()):  # what is needed stands before what needs it
            if lost.intersection(other.needs):
                lost.add(other.id)
                events.append(Event("failed", self._waiting.pop(other.id), failure=reason))
        return events
