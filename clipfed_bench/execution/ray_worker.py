"""What runs in a process of a Ray node: a worker that first looks whether it sees the same files as the command.

Imported by workers and by the command; imports no torch.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from clipfed_bench.core.version import VERSION
from clipfed_bench.execution.jobs import Job
from clipfed_bench.execution.shared_places import Place, unseen
from clipfed_bench.execution.worker import Message, Runner, Settings, redirect


@dataclass(frozen=True)
class Greeting:
    """What a worker says of itself before it gets work."""

    node: str
    """Id of its node."""
    host: str
    version: str
    """Of clipfed-bench."""
    unseen: tuple[Place, ...] = ()


class Worker:
    """Does one job at a time, and keeps data, teachers and captured graphs between jobs."""

    def __init__(self, settings: Settings, log: Path, folder: Path) -> None:
        with contextlib.suppress(OSError):  # relative paths in a cell's settings are meant from here
            os.chdir(folder)
        self._runner = Runner(settings)
        self._cell_timeout = settings.cell_timeout
        self._log = log
        self._thread = ThreadPoolExecutor(1)

    def greet(self, places: Sequence[Place], patience: float) -> Greeting:
        """Where this is, and what of ``places`` is not seen there. Called once, before any job."""
        import ray

        missing = unseen(places, patience)
        if not missing:
            redirect(self._log)
        return Greeting(ray.get_runtime_context().get_node_id(), socket.gethostname(), VERSION, missing)

    def run(self, job: Job) -> Iterator[Message]:
        """Do ``job``: steps as they come, then how it ended. The job has a thread of its own, as this one streams."""
        messages: SimpleQueue[Message] = SimpleQueue()
        if job.stage == "cell" and self._cell_timeout is not None:
            faulthandler.dump_traceback_later(self._cell_timeout, file=2)  # from C: it may hang where no signal helps
        self._thread.submit(
            lambda: messages.put(self._runner.attempt(job, lambda step: messages.put(("step", step, False))))
        )
        while (message := messages.get())[0] == "step":
            yield message
        faulthandler.cancel_dump_traceback_later()
        yield message
