"""Local: a pool of processes on this machine, one torch thread each.

Workers take one job at a time over a pipe, and keep data, teachers and captured graphs between jobs. On a CPU they are
forked from a process that has the simulator loaded, else spawned. They report; only the parent writes results. The
parent never imports torch. Each worker's own output goes to a log file.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Progress
from clipfed_bench.execution.executor import Executor
from clipfed_bench.execution.jobs import Event, Failure, Job, Schedule
from clipfed_bench.execution.machine import cells_here
from clipfed_bench.execution.processes import start
from clipfed_bench.execution.worker import (
    RUNNER,
    THREADS,
    AtWork,
    Runner,
    Settings,
    explain_death,
    explain_timeout,
    redirect,
)


@dataclass(frozen=True)
class Config:
    """It has no options: how many processes is ``--workers``."""


class Local(Executor):
    def execute(self, jobs: Sequence[Job], workers: int | None, settings: Settings) -> Generator[Event, None, None]:
        cells = sum(job.stage == "cell" for job in jobs)
        return execute(jobs, cells_here(workers, settings.environment.device, cells), settings)


FORKED = {RUNNER}
"""Runners that start no threads when they are imported, and so may be forked."""


def execute(jobs: Sequence[Job], workers: int, settings: Settings) -> Generator[Event, None, None]:
    """Run ``jobs`` in at most ``workers`` processes, and say what happens while it does.

    A job that raises, or whose process dies, has failed; the others go on. Where memory ran out, or the process was
    killed as the system does then, the job is first ``retried`` alone. A cell that takes too long is stopped. Closing
    the iterator, or an exception in whoever uses it, ends every process at once.
    """
    schedule = Schedule(jobs)
    pool: list[_Worker] = []
    numbers, share = itertools.count(1), _shared(jobs, settings)
    try:
        while schedule.left:
            yield from _hand_out(schedule, pool, workers, lambda: _new(settings, next(numbers), share))
            busy = {worker.connection: worker for worker in pool if worker.job is not None}
            for connection in wait(list(busy), _patience(busy.values(), settings.cell_timeout)):
                yield from _receive(busy[connection], schedule)  # type: ignore[index]
            for worker in busy.values():
                if worker.left(settings.cell_timeout) <= 0 and not worker.connection.poll():
                    yield from _stop_cell(worker, schedule, settings)
            for worker in [w for w in pool if w.retired]:
                pool.remove(worker)
                worker.stop()
        for worker in pool:
            worker.dismiss()
    finally:
        for worker in pool:
            worker.process.terminate()
        for worker in pool:
            worker.stop()
        with contextlib.suppress(OSError):  # not there, or not empty
            settings.logs.rmdir()


@dataclass(eq=False)
class _Worker(AtWork):
    process: Any
    connection: Connection[Any, Any]
    retired: bool = False

    def stop(self) -> None:
        """Wait for the process, which was told to end or is ending by itself, and drop a log with nothing in it."""
        self.connection.close()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.drop_empty_log()

    def dismiss(self) -> None:
        """Let an idle process end by itself."""
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.process.join(timeout=5)


def _hand_out(schedule: Schedule, pool: list[_Worker], workers: int, new: Callable[[], _Worker]) -> Iterator[Event]:
    while len(idle := [w for w in pool if w.job is None]) + workers - len(pool) > 0:
        job = schedule.start()
        if job is None:
            return
        if job.alone:  # also idle processes hold memory
            for worker in idle:
                worker.dismiss()
                worker.stop()
                pool.remove(worker)
            idle = []
        worker = idle[0] if idle else new()
        if not idle:
            pool.append(worker)
        worker.give(job)
        with contextlib.suppress(OSError):  # a process that is dead already is noticed when it is listened to
            worker.connection.send(job)
        yield Event("started", job)


def _receive(worker: _Worker, schedule: Schedule) -> Iterator[Event]:
    try:
        kind, content, worker.retired = worker.connection.recv()
    except (EOFError, OSError):
        kind, content, worker.retired = "failed", _death(worker), True
    return worker.heard(kind, content, schedule)


def _patience(busy: Iterable[_Worker], limit: float | None) -> float | None:
    """Seconds to wait for messages; None: as long as it takes."""
    left = min((worker.left(limit) for worker in busy), default=math.inf)
    return max(0.0, left) if math.isfinite(left) else None


def _stop_cell(worker: _Worker, schedule: Schedule, settings: Settings) -> Iterator[Event]:
    """Kill the worker, which may hang where no milder signal reaches it, after its log says where it was."""
    assert settings.cell_timeout is not None
    with contextlib.suppress(OSError, AttributeError):
        os.kill(worker.process.pid, signal.SIGUSR1)
        worker.process.join(timeout=0.5)
    worker.process.kill()
    worker.process.join()
    worker.retired = True
    return worker.heard("failed", explain_timeout(settings.cell_timeout, worker.last, worker.log), schedule)


def _death(worker: _Worker) -> Failure:
    worker.process.join(timeout=5)
    code = worker.process.exitcode
    how = f"ended with exit status {code}"
    if code is not None and code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
        how += " (the system does this when memory runs out: try fewer --workers)" if code == -signal.SIGKILL else ""
    return explain_death(how, worker.log, memory=code == -signal.SIGKILL)


def _shared(jobs: Sequence[Job], settings: Settings) -> tuple[str, ...]:
    """Modules that are imported once for all workers; none where they use a GPU: a fork and CUDA do not go together."""
    if settings.runner not in FORKED or settings.environment.device != "cpu":
        return ()
    teacher = settings.runner == RUNNER and any(job.stage == "teacher" for job in jobs)
    return (settings.runner, "clipfed_bench.teacher.loading") if teacher else (settings.runner,)


def _new(settings: Settings, number: int, share: Collection[str]) -> _Worker:
    ours, theirs = multiprocessing.Pipe()
    log = settings.logs / f"worker-{number}.log"
    try:
        settings.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{settings.logs} cannot be made: {error.strerror or error}.") from error
    process = start(_serve, theirs, settings, log, share=share)
    theirs.close()
    return _Worker(process, ours, log=log)


def _serve(connection: Connection[Any, Any], settings: Settings, log: Path) -> None:
    """A worker's life. Ends when it is told to, when the parent is gone, or after a failure that may have hurt it."""
    os.environ.update(THREADS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    redirect(log)
    runner = Runner(settings)

    def report(progress: Progress) -> None:
        connection.send(("step", progress, False))

    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while (job := connection.recv()) is not None:
            message = runner.attempt(job, report)
            connection.send(message)
            if message[2]:
                return


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on: it would write beside the grid that goes on from there."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
