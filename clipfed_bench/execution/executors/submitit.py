"""Submitit: jobs of Slurm, one for each cell and each piece of work that cells share. See docs/scaling.md.

What can run at once is submitted as one array (https://github.com/facebookincubator/submitit). A job writes what it has
to say to a file, which the command reads; the command alone writes results, and when it ends all its jobs end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import logging
import os
import pickle
import shlex
import shutil
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.paths import cache_root
from clipfed_bench.execution.executor import Executor
from clipfed_bench.execution.jobs import Event, Failure, Job, Schedule
from clipfed_bench.execution.machine import Device, cells_here, resolve_device
from clipfed_bench.execution.shared_places import Place, absolute, refuse_unseen, shared_places, unseen
from clipfed_bench.execution.worker import THREADS, AtWork, Runner, Settings, explain_death, explain_timeout, redirect

_MOST = 1000
"""Jobs in the queue, where ``--workers`` does not say: Slurm's arrays have up to 1000 unless a site says otherwise."""
_LATENESS = {"slurm": 5.0, "local": 0.2}
"""Seconds that a filesystem may take to show what another machine, or process, wrote [ours]."""
_BEAT, _PATIENCE = 5.0, 300.0
"""Seconds between a job's looks at whether the command lives, and those after which it takes it for dead [ours]."""
_LAST_WORDS = 1.0
"""Seconds in which a cell whose time is over may write down where it is [ours]."""
_TICK = {"slurm": 1.0, "local": 0.05}
"""Seconds between the command's looks at what jobs say [ours]."""


@dataclass(frozen=True)
class Config:
    partition: str | None = None
    """Slurm's partition; its default if none [ours]."""
    minutes: int = 240
    """Time limit of a job; a cell that needs more is requeued, and goes on from its last checkpoint [ours]."""
    cpus: int = 1
    """Cores of a job; a cell uses one [ours]."""
    memory: float | None = None
    """GB of a job; Slurm's default if none [ours]."""
    gpus: int = 0
    """GPUs of a job; with one, cells run on it [ours]."""
    cluster: Literal["slurm", "local"] = "slurm"
    """local: submitit's own processes of this machine, to try it out [ours]."""


class Submitit(Executor):
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.here = config.cluster == "local"
        for name, least in {"minutes": 1, "cpus": 1, "memory": 0.001, "gpus": 0}.items():
            if (value := getattr(config, name)) is not None and value < least:
                raise UserError(f"--executor submitit[{name}={value:g}]: at least {least:g} is needed.")

    def check(self) -> None:
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"--executor submitit: {error}; install it with: pip install 'clipfed-bench[slurm]'"
            ) from None
        if self.config.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise UserError(
                "--executor submitit: there is no sbatch or srun here; start the command where jobs of Slurm can be "
                "submitted, or try submitit[cluster=local]."
            )

    def device(self, asked: Device) -> str:
        gpus = self.config.gpus
        if asked == "cuda" and not gpus:
            raise UserError("--device: on cuda a job needs a GPU: --executor submitit[gpus=1].")
        if asked == "cpu" and gpus:
            raise UserError(f"--executor submitit[gpus={gpus}]: with --device cpu, cells take no GPU.")
        device: Device = "cuda" if gpus else "cpu"
        return resolve_device(device) if self.here else device

    def execute(self, jobs: Sequence[Job], workers: int | None, settings: Settings) -> Generator[Event, None, None]:
        limit = cells_here(workers, settings.environment.device, len(jobs)) if self.here else workers or _MOST
        return execute(jobs, limit, settings, self.config)


Queue = Callable[[Sequence["Work"]], list[Any]]
"""Submits work as one array, and gives a ``submitit.Job`` for each piece."""


def execute(
    jobs: Sequence[Job],
    limit: int,
    settings: Settings,
    config: Config,
    connect: Callable[[Path, Config], Queue] | None = None,
) -> Generator[Event, None, None]:
    """Run ``jobs``, with at most ``limit`` in the queue, and say what happens while it does.

    A job has ``started`` when Slurm lets it. One that raises has failed; one that dies is ``retried`` once, alone; one
    that Slurm requeues, for its time or for another user, is ``retried`` each time. A cell that takes too long is
    cancelled. Closing the iterator, or an exception in whoever uses it, cancels all jobs. Raises UserError where Slurm
    takes no jobs, and where a node does not see the files.
    """
    settings = absolute(settings)
    for old in settings.logs.glob("submitit-*"):  # of a command that was killed; its jobs notice
        shutil.rmtree(old, ignore_errors=True)
    folder = settings.logs / f"submitit-{uuid.uuid4().hex[:8]}"
    with shared_places(settings, jobs) as places:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            queue = (connect or open_queue)(folder, config)
            crew = _Crew(queue, Schedule(jobs), limit, settings, config, places, folder)
            try:
                yield from crew.work()
            finally:
                crew.cancel()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def open_queue(folder: Path, config: Config) -> Queue:
    """Slurm by submitit, whose scripts and pickles are kept in ``folder``."""
    import submitit
    from submitit.helpers import clean_env

    logging.getLogger("submitit").setLevel(logging.CRITICAL)  # it would print over the progress display
    variables = {**THREADS, "CLIPFED_BENCH_CACHE": str(cache_root().absolute())}
    python = shlex.join(["env", *(f"{name}={value}" for name, value in variables.items()), sys.executable])
    queue = submitit.AutoExecutor(folder, cluster=config.cluster, slurm_python=python, local_python=python)
    queue.update_parameters(
        name="clipfed-bench",
        timeout_min=config.minutes,
        cpus_per_task=config.cpus,
        mem_gb=config.memory,
        gpus_per_node=config.gpus or None,
        slurm_partition=config.partition,
        stderr_to_stdout=True,
    )

    def submit(works: Sequence[Work]) -> list[Any]:
        with clean_env(), queue.batch():  # where the command is a job itself, nothing is taken over from that
            return [queue.submit(work) for work in works]

    return submit


# --- in a job ---


@dataclass(frozen=True)
class Work:
    """What a job of Slurm does, from the beginning wherever it was requeued; cells go on from their checkpoints."""

    job: Job
    settings: Settings
    places: Sequence[Place]
    said: Path
    """File of what it says, a pickle each."""
    log: Path
    pulse: Path
    """File that the command touches as long as it lives."""

    def __call__(self) -> None:
        host = socket.gethostname()
        if missing := unseen(self.places, _LATENESS["slurm"]):
            self._say("unseen", (host, missing), False)
            return
        redirect(self.log)
        logging.getLogger("submitit").setLevel(logging.WARNING)  # that all is well is nothing for the log
        self._say("started", host, False)
        if self.job.stage == "cell" and self.settings.cell_timeout is not None:
            faulthandler.dump_traceback_later(self.settings.cell_timeout, file=2)
        ended = threading.Event()
        threading.Thread(target=self._work, args=(ended,), daemon=True).start()  # signals are for this thread
        beat, since = self._beat(), time.monotonic()
        while not ended.wait(_BEAT):
            if (now := self._beat()) != beat:
                beat, since = now, time.monotonic()
            if now is None or time.monotonic() - since > _PATIENCE:
                os._exit(1)  # nobody would store what it comes to, and another command may be at the same cells
        os._exit(0)  # all is said; submitit would write its own result while the command clears the folder

    def checkpoint(self) -> Any:
        """Submitit asks for what is to be run when the job is requeued."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _work(self, ended: threading.Event) -> None:
        self._say(*Runner(self.settings).attempt(self.job, lambda step: self._say("step", step, False)))
        ended.set()

    def _say(self, kind: str, content: Any, hurt: bool) -> None:
        with self.said.open("ab") as file:
            file.write(pickle.dumps((kind, content)))

    def _beat(self) -> int | None:
        try:
            return self.pulse.stat().st_mtime_ns
        except OSError:
            return None


# --- in the command ---


@dataclass(eq=False)
class _Member(AtWork):
    """A job, from when it is submitted; ``job`` is known once it runs."""

    wanted: Job
    handle: Any
    said: Path
    read: int = 0
    """Bytes of ``said`` that were read."""
    ended: float | None = None
    """When it was first seen to have ended, on the monotonic clock."""

    def news(self) -> Iterator[tuple[str, Any]]:
        """What it has said since; half of a message is left for later."""
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError), self.said.open("rb") as file:
            file.seek(self.read)
            while True:
                message = pickle.load(file)
                self.read = file.tell()
                yield message


@dataclass
class _Crew:
    queue: Queue
    schedule: Schedule
    limit: int
    settings: Settings
    config: Config
    places: list[Place]
    folder: Path
    members: list[_Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._pulse = self.folder / "pulse"

    def work(self) -> Iterator[Event]:
        """Until every job is done or has failed."""
        while self.schedule.left:
            self._pulse.touch()
            self._submit()
            for member in list(self.members):
                yield from self._listen(member)
            time.sleep(_TICK[self.config.cluster])

    def cancel(self) -> None:
        """All that is left. Processes of this machine are waited for."""
        left, deadline = list(self.members), time.monotonic() + 5
        for member in left:
            self._drop(member, cancel=True)
        while self.config.cluster == "local" and time.monotonic() < deadline:
            if all(member.handle.done() for member in left):
                return
            time.sleep(0.05)

    def _submit(self) -> None:
        """As many of the jobs that can run as there is room for, in one array."""
        jobs: list[Job] = []
        while len(self.members) + len(jobs) < self.limit and (job := self.schedule.start()) is not None:
            jobs.append(job)
        if not jobs:
            return
        works = [self._piece(job, next(self._numbers)) for job in jobs]
        try:
            handles = self.queue(works)
        except Exception as error:  # of several kinds, by what sbatch says
            last = shown(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__, 300)
            raise UserError(f"--executor submitit: no jobs can be submitted: {last}") from error
        self.members += [_Member(w.job, h, w.said, log=w.log) for w, h in zip(works, handles, strict=True)]

    def _piece(self, job: Job, number: int) -> Work:
        said, log = self.folder / f"said-{number}", self.settings.logs / f"worker-{number}.log"
        return Work(job, self.settings, tuple(self.places), said, log, self._pulse)

    def _listen(self, member: _Member) -> Iterator[Event]:
        for kind, content in member.news():
            if kind == "unseen":
                refuse_unseen(content[1], content[0])
            elif kind == "started":
                yield from self._begin(member)
            else:
                if kind != "step":
                    self._drop(member)
                yield from member.heard(kind, content, self.schedule)
                if kind != "step":
                    return
        limit = self.settings.cell_timeout
        if limit is not None and member.left(limit) <= -_LAST_WORDS:
            self._drop(member, cancel=True)
            yield from member.heard("failed", explain_timeout(limit, member.last, member.log), self.schedule)
        elif member.ended is not None and time.monotonic() - member.ended > _LATENESS[self.config.cluster]:
            if member.job is None:
                yield from self._begin(member)
            self._drop(member)
            yield from member.heard("failed", self._death(member), self.schedule)
        elif member.ended is None and member.handle.done():
            member.ended = time.monotonic()

    def _begin(self, member: _Member) -> Iterator[Event]:
        if member.job is not None:
            error = "its job was requeued: its time was over, or the node was needed"
            yield Event("retried", member.wanted, failure=Failure(error, error), seconds=member.seconds)
        member.give(member.wanted)
        yield Event("started", member.wanted)

    def _drop(self, member: _Member, cancel: bool = False) -> None:
        self.members.remove(member)
        if cancel:
            with contextlib.suppress(Exception):  # it is gone already
                member.handle.cancel(check=False)
        member.drop_empty_log()

    def _death(self, member: _Member) -> Failure:
        """Slurm's state says why; of one that just failed it may have been its memory, so it is tried again."""
        state, name = str(member.handle.state), f"job {member.handle.job_id}"
        final = state.upper().startswith(("TIMEOUT", "CANCELLED", "DEADLINE"))
        failure = explain_death(f"of {name} ended, {state},", member.log, memory=not final)
        with contextlib.suppress(OSError):
            own = member.handle.paths.stdout.read_text(errors="replace")[-2000:]
            failure = replace(failure, traceback=f"{failure.traceback}\nThe output of {name}:\n{own}")
        return failure
