"""In turn: jobs one after the other in the process of the command, where a debugger stops in them.

A job that kills its process kills the command: for finding faults, not for grids.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from clipfed_bench.core.messages import Progress
from clipfed_bench.execution.executor import Executor
from clipfed_bench.execution.jobs import Event, Job, Schedule
from clipfed_bench.execution.worker import THREADS, AtWork, Runner, Settings


@dataclass(frozen=True)
class Config:
    steps: bool = True
    """Whether steps are shown, each job's when it is done [ours]."""


class InTurn(Executor):
    config: Config

    def execute(self, jobs: Sequence[Job], workers: int | None, settings: Settings) -> Generator[Event, None, None]:
        os.environ.update(THREADS)  # before torch is imported: numbers are those of one thread
        schedule, runner, here = Schedule(jobs), Runner(settings), AtWork(log=settings.logs / "in-turn.log")
        while (job := schedule.start()) is not None:
            here.give(job)
            yield Event("started", job)
            steps: list[Progress] = []
            kind, content, _ = runner.attempt(job, steps.append)
            for step in steps if self.config.steps else ():
                yield from here.heard("step", step, schedule)
            yield from here.heard(kind, content, schedule)
