"""What a worker does wherever it lives: run jobs with the simulator, and say why where it cannot."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from clipfed_bench.core import work_counts as counts
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import CellResult, Environment, Progress, Report
from clipfed_bench.core.notices import shown_by
from clipfed_bench.core.sources import code
from clipfed_bench.execution.allocator import keep_freed_memory, return_freed_memory
from clipfed_bench.execution.jobs import Event, Failure, Job, Schedule
from clipfed_bench.execution.memory import ran_out_of_memory

# Two OpenMP threads collapse when the other core is busy: one thread a process, one cell a core.
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
RUNNER = "clipfed_bench.execution.runner"
_FUNCTIONS = {
    "data": "load_data",
    "teacher": "prepare",
    "warmup": "run_warmup",
    "prefix": "run_prefix",
    "cell": "run_cell",
}


@dataclass(frozen=True)
class Settings:
    """What a worker runs, and with what."""

    environment: Environment
    logs: Path
    """Folder of the workers' log files; made when needed."""
    runner: str = RUNNER
    """Module with ``load_data``, ``prepare``, ``run_warmup``, ``run_prefix`` and ``run_cell``."""
    cell_timeout: float | None = None
    """Seconds after which a cell that is not done is stopped and has failed; None: it may take as long as it likes."""


Message = tuple[Literal["step", "done", "failed"], Progress | CellResult | Failure | None, bool]
"""What a worker tells the parent: the kind of event, what belongs to it, and whether the process should be replaced."""


class Runner:
    """The simulator, imported in the worker when the first job comes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._module: ModuleType | None = None

    def attempt(self, job: Job, report: Report) -> Message:
        """Do ``job``, telling ``report`` of each step. Never raises: the answer says what went wrong."""
        with shown_by(lambda text: report(Progress("", 0, 0, note=text))):
            message = self._attempt(job, lambda step: report(replace(step, computed=counts.take())))
        return_freed_memory()  # it is kept for a job's next step, and between jobs of use to others
        if rest := counts.take():
            report(Progress("", 0, 0, computed=rest))
        return message

    def _attempt(self, job: Job, report: Report) -> Message:
        try:
            return "done", self._run(job, report), False
        except UserError as error:
            failure = explain(error)
            return "failed", failure, failure.memory
        except BaseException as error:
            # A CUDA error, for one, makes every later job of this process fail as well.
            return "failed", explain(error), True

    def _run(self, job: Job, report: Report) -> CellResult | None:
        # Looked at before they are imported, so that they are not taken for what they become later.
        code(self._settings.runner, *(choice.component.module for choice in (job.spec.attack, job.spec.defense)))
        if self._module is None:
            self._module = importlib.import_module(self._settings.runner)
            keep_freed_memory()
            if torch := sys.modules.get("torch"):
                torch.set_num_threads(1)
        function = getattr(self._module, _FUNCTIONS[job.stage])
        result: CellResult | None = function(job.spec, self._settings.environment, report)
        return result


@dataclass(eq=False, kw_only=True)
class AtWork:
    """A worker as the parent knows it."""

    log: Path
    job: Job | None = None
    started: float = 0.0
    """When it got the job, on the monotonic clock."""
    last: Progress | None = None
    """The job's last sign of life."""

    def give(self, job: Job) -> None:
        """It begins with ``job`` now."""
        self.job, self.started, self.last = job, time.monotonic(), None

    @property
    def seconds(self) -> float:
        """Since it got the job."""
        return time.monotonic() - self.started

    def left(self, limit: float | None) -> float:
        """Seconds until the cell that it is at has taken longer than ``limit``; any other job has all the time."""
        if limit is None or self.job is None or self.job.stage != "cell":
            return math.inf
        return limit - self.seconds

    def heard(self, kind: str, content: Any, schedule: Schedule) -> Iterator[Event]:
        """What the first two parts of a message mean for its job, which it has no longer unless it is a step."""
        job, seconds = self.job, self.seconds
        assert job is not None
        if kind == "step":
            self.last = content
            yield Event("step", job, step=content)
            return
        self.job = None
        if kind == "done":
            schedule.succeed(job)
            yield Event("done", job, outcome=content, seconds=seconds)
        else:
            yield from schedule.settle(job, content, seconds)

    def drop_empty_log(self) -> None:
        """Remove its log if nothing is in it."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size == 0:
                self.log.unlink()


def explain(error: BaseException) -> Failure:
    """Why a job that raised ``error`` has no outcome."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return Failure(text, "".join(traceback.format_exception(error)), ran_out_of_memory(error))


def explain_death(how: str, log: Path, memory: bool = False) -> Failure:
    """Why a job whose process died has no outcome; ``how`` completes "the worker process ..."."""
    return with_output(f"the worker process {how} in the middle of it", log, memory)


def explain_timeout(limit: float, last: Progress | None, log: Path) -> Failure:
    """Why a cell that was stopped after ``limit`` seconds has no outcome; ``last`` is its last sign of life."""
    where = f"after {last.stage} {last.done} of {last.total}" if last is not None else "before its first sign of life"
    return with_output(f"it was stopped {where}: it took longer than the {limit:g} seconds of --cell-timeout", log)


def with_output(error: str, log: Path, memory: bool = False) -> Failure:
    """``error`` as a failure that shows the end of the worker's log."""
    try:
        tail = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    except OSError:
        tail = ""
    return Failure(error, f"{error}\nIts last output, from {log.name}:\n{tail or '(none)'}", memory)


def redirect(log: Path) -> None:
    """Send whatever this process prints, also from C, to ``log``: the terminal belongs to the progress display."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    faulthandler.enable()
    if hasattr(faulthandler, "register"):  # the parent asks a worker that it has to stop where it is
        faulthandler.register(signal.SIGUSR1)
