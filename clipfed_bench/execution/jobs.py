"""Jobs, what they need, and the order in which they may run. Pure: no processes, no torch.

Cells share work: a teacher with its features of the server set, and a clean warm-up. Each is a job of its own that
runs once, before the cells that need it. If it fails, so do they, with its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from clipfed_bench.records import CellResult, Progress
from clipfed_bench.spec import CellSpec

Stage = Literal["teacher", "warmup", "cell"]


@dataclass(frozen=True)
class Job:
    """One piece of work for one worker."""

    id: str
    stage: Stage
    spec: CellSpec
    """The cell; for a teacher or a warm-up, any one of those that share it."""
    needs: tuple[str, ...] = ()
    """Ids of the jobs that have to succeed before."""
    lock: str = ""
    """Jobs with the same lock do not run at the same time: they might write the same files."""


@dataclass(frozen=True)
class Failure:
    """Why a job has no outcome."""

    error: str
    """One line for people."""
    traceback: str


@dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    kind: Literal["started", "step", "done", "failed"]
    job: Job
    step: Progress | None = None
    outcome: CellResult | None = None
    """Of a cell that is done."""
    failure: Failure | None = None
    seconds: float = 0.0
    """Wall time since the job started, for done and failed."""


def plan(cells: Iterable[CellSpec]) -> list[Job]:
    """Jobs for ``cells``: distinct teachers, distinct warm-ups, then the cells in their order."""
    shared: dict[str, Job] = {}
    found: list[Job] = []
    for cell in cells:
        needs = [job for job in (_teacher(cell), _warmup(cell)) if job is not None]
        for job in needs:
            shared.setdefault(job.id, job)
        found.append(Job(cell.key, "cell", cell, tuple(job.id for job in needs)))
    return [*sorted(shared.values(), key=lambda job: job.stage), *found]


def _teacher(cell: CellSpec) -> Job | None:
    if cell.teacher is None:
        return None
    names = ("dataset", "imbalance_factor", "teacher", "templates", "server_data", "server_per_class")
    id = "teacher/" + "/".join(str(getattr(cell, name)) for name in names)
    return Job(id, "teacher", cell, lock=f"teacher/{cell.teacher}")


def _warmup(cell: CellSpec) -> Job | None:
    return Job(f"warmup/{cell.warmup_key}", "warmup", cell) if cell.warmup_rounds > 0 else None


class Schedule:
    """Which job is next. Earlier jobs of the list come first, as soon as what they need has succeeded."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting: dict[str, Job] = {job.id: job for job in jobs}
        self._running: dict[str, Job] = {}
        self._failures: dict[str, Failure] = {}

    @property
    def finished(self) -> bool:
        """Nothing is waiting and nothing runs."""
        return not self._waiting and not self._running

    def start(self) -> Job | None:
        """The next job that can run now; from here on it counts as running. None: nothing can."""
        locks = {job.lock for job in self._running.values()} - {""}
        for job in self._waiting.values():
            if job.lock not in locks and not any(need in self._waiting or need in self._running for need in job.needs):
                self._running[job.id] = self._waiting.pop(job.id)
                return job
        return None

    def succeed(self, job: Job) -> None:
        """``job`` is done."""
        del self._running[job.id]

    def fail(self, job: Job, failure: Failure) -> list[tuple[Job, Failure]]:
        """``job`` failed. All that cannot run any more because of it, with the reason; they are not waiting now."""
        del self._running[job.id]
        self._failures[job.id] = failure
        doomed = []
        for other in list(self._waiting.values()):
            reason = next((self._failures[need] for need in other.needs if need in self._failures), None)
            if reason is not None:
                what = {"teacher": "the teacher", "warmup": "the warm-up"}.get(job.stage, "another job")
                failed = Failure(f"{what} that it needs failed: {reason.error}", reason.traceback)
                self._failures[other.id] = failed
                doomed.append((self._waiting.pop(other.id), failed))
        return doomed
