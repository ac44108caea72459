"""The words of an executor: what runs jobs, on this machine or elsewhere. No torch: the command never imports it.

An executor is one module with a docstring, one frozen ``Config`` dataclass whose fields are documented by a string
below each, and one subclass of :class:`Executor`. It comes by an entry point in the group ``clipfed_bench.executors``.
It takes jobs from a :class:`.jobs.Schedule`, has a :class:`.worker.Runner` do each, wherever that is, and says what
happened; :class:`.worker.AtWork` makes events of a runner's messages. Results are the session's to store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from typing import Any, cast

from clipfed_bench.components.registry import choose, create
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.messages import CellResult, Progress
from clipfed_bench.execution.jobs import Event, Failure, Job
from clipfed_bench.execution.machine import Device, resolve_device
from clipfed_bench.execution.worker import Settings


class Executor(ABC):
    """Runs jobs. Nothing that it decides may change a number."""

    here: bool = True
    """Jobs see the files and the devices of this machine, so that what is missing can be said before they run."""

    def __init__(self, config: Any) -> None:
        """``config`` is an instance of its module's ``Config``. Raises UserError for values out of range."""
        self.config = config

    def check(self) -> None:  # noqa: B027  # many have nothing to look for
        """Called once there are jobs, and before anything is written. Raises UserError where they cannot be run."""

    def device(self, asked: Device) -> str:
        """``cpu`` or ``cuda``: where cells will run. Raises UserError for what is not there."""
        return resolve_device(asked)

    @abstractmethod
    def execute(self, jobs: Sequence[Job], workers: int | None, settings: Settings) -> Generator[Event, None, None]:
        """Run ``jobs``, at most ``workers`` at a time (None: as many as there is room for), and say what happens.

        Each job is ``started``, and ends ``done`` or ``failed``; a failure is that of all jobs that need it. One that
        was lost for a reason outside of it is ``retried``. Closing the iterator, or an exception in whoever uses it,
        ends everything that runs. ``settings.logs`` is the folder for what jobs print; it goes where it stays empty.
        """


def execute(
    name: str, executor: Executor, jobs: Sequence[Job], workers: int | None, settings: Settings
) -> Generator[Event, None, None]:
    """What ``executor``, called ``name``, says happened.

    Raises UserError where it breaks down, leaves jobs open, or says what cannot be.
    """
    left, running = {job.id for job in jobs}, set[str]()
    try:
        with closing(executor.execute(jobs, workers, settings)) as events:
            for event in events:
                if fault := _fault(event, left, running):
                    raise UserError(f"executor '{name}' {fault}.")
                if event.kind == "started":
                    running.add(event.job.id)
                elif event.kind != "step":
                    running.discard(event.job.id)
                if event.kind in ("done", "failed"):
                    left.discard(event.job.id)
                yield event
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"raises {type(error).__name__}: {shown(error, 300)}"
        raise UserError(f"executor '{name}' {reason}. Its traceback is in the run folder's events.jsonl.") from error
    if left:
        raise UserError(f"executor '{name}' ended, and {len(left)} of {len(jobs)} jobs are neither done nor failed.")


def _fault(event: object, left: Collection[str], running: Collection[str]) -> str:
    """What is wrong with an event, while so many jobs are ``left`` and ``running``; empty where nothing is."""
    if not isinstance(event, Event):
        return f"yields a {type(event).__name__}; an Event is needed"
    job, kind = event.job, event.kind
    if job.id not in left:
        return f"says that {shown(job.id)} is {shown(kind)}, which is none of its jobs, or has ended"
    if kind not in ("started", "step", "done", "failed", "retried"):
        return f"says that {job.id} is {shown(kind)}; possible are started, step, done, failed and retried"
    if kind in ("step", "done") and job.id not in running:
        return f"says that {job.id} is at '{kind}' before it started"
    needed: dict[str, tuple[object, type[object]]]
    needed = {"failed": (event.failure, Failure), "retried": (event.failure, Failure), "step": (event.step, Progress)}
    if kind == "done" and job.stage == "cell":
        needed["done"] = event.outcome, CellResult
    given, kind_of = needed.get(kind, (None, type(None)))
    if not isinstance(given, kind_of):
        return f"says that {job.id} is at '{kind}' without its {kind_of.__name__}"
    return ""


def make_executor(text: str) -> Executor:
    """The executor that ``text`` names, ``"ray[address=HOST:6379]"``. Raises UserError, also for its options."""
    return cast(Executor, create(choose("executor", text), Executor))
