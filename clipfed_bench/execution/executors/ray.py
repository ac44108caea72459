"""Ray: workers on a cluster, each an actor that holds one CPU and maybe a share of a GPU. See docs/scaling.md.

As in the pool of :mod:`.local`, a worker does one job at a time and reports, and only the parent
writes results. New here: workers may have to wait for room, and a node may die under its jobs; they are done again.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.version import VERSION
from clipfed_bench.execution.executor import Executor
from clipfed_bench.execution.jobs import Event, Failure, Job, Schedule
from clipfed_bench.execution.machine import Device
from clipfed_bench.execution.ray_cluster import Cluster, Connect, alive, connected, ready, room
from clipfed_bench.execution.ray_worker import Greeting, Worker
from clipfed_bench.execution.shared_places import Place, absolute, refuse_unseen, shared_places
from clipfed_bench.execution.worker import AtWork, Settings, explain_death, explain_timeout


@dataclass(frozen=True)
class Config:
    address: str | None = None
    """HOST:PORT of the cluster, or auto; else RAY_ADDRESS, else Ray is started here [ours]."""
    gpus_per_cell: float | None = None
    """Share of a GPU that a cell takes, up to 1; 1 if not given [ours]."""


class Ray(Executor):
    config: Config
    here = False

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.cluster = Cluster(config.address, config.gpus_per_cell)

    def check(self) -> None:
        ready(self.cluster)

    def device(self, asked: Device) -> str:
        return self.cluster.device(asked)

    def execute(self, jobs: Sequence[Job], workers: int | None, settings: Settings) -> Generator[Event, None, None]:
        return execute(jobs, workers, settings, self.cluster)


_FALSE_STARTS = 20  # workers that may die before they have greeted, in a row


def execute(
    jobs: Sequence[Job], workers: int | None, settings: Settings, cluster: Cluster, connect: Connect = connected
) -> Generator[Event, None, None]:
    """Run ``jobs`` in at most ``workers`` processes of ``cluster``, and say what happens while it does.

    Without ``workers`` there are as many as the cluster has room for, also when it grows or shrinks. A job that raises
    has failed; one whose node dies is ``retried``, a few times, and one whose process dies, or whose memory runs out,
    once, alone. A cell that takes too long is stopped. Closing the iterator, or an exception in whoever uses it, ends
    every process at once; a Ray that was started here is stopped, others run on. Raises UserError if there is no
    cluster, no suitable node, or a node that does not see the files.
    """
    settings = absolute(settings)
    with connect(cluster, workers) as ray, shared_places(settings, jobs) as places:
        crew = _Crew(ray, Schedule(jobs), workers, settings, cluster, places)
        try:
            yield from crew.work()
        finally:
            for member in list(crew.members):
                crew.dismiss(member)


@dataclass(eq=False)
class _Member(AtWork):
    """A worker, from when it is asked for."""

    actor: Any
    awaited: Any
    """What it will say next; None while it is idle, or dead."""
    node: str = ""
    """Id of its node, and of which machine; both known when it has greeted."""
    host: str = ""
    used: bool = False
    """It has had a job, and may hold memory."""
    lost: Exception | None = None
    """Why nothing more is heard of it."""
    verdict_at: float = 0.0


@dataclass
class _Crew:
    ray: Any
    schedule: Schedule
    limit: int | None
    settings: Settings
    cluster: Cluster
    places: list[Place]
    members: list[_Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._again: deque[Job] = deque()
        self._losses: Counter[str] = Counter()
        self._false_starts = 0
        self._numbers = itertools.count(1)
        self._gpus = self.cluster.gpus(self.settings.environment.device)
        # Processes are ended with the actor, so nothing of a job outlives it; retries are ours to decide on.
        self._hire = self.ray.remote(Worker).options(
            num_cpus=1, num_gpus=self._gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self._looked = -self.cluster.tick
        self._nodes: list[dict[str, Any]] = []
        self._bare_since: float | None = None
        self._had_room = False

    def work(self) -> Iterator[Event]:
        """Until every job is done or has failed."""
        while self.schedule.left:
            self._look()
            self._fit()
            yield from self._hand_out()
            yield from self._judge()
            yield from self._stop_late_cells()
            awaited = [member.awaited for member in self.members if member.awaited is not None]
            if not awaited:
                time.sleep(min(self.cluster.tick, 0.2))
                continue
            self.ray.wait(awaited, timeout=self.cluster.tick)
            ready, _ = self.ray.wait(awaited, num_returns=len(awaited), timeout=0)  # nobody is passed over
            for member in [m for m in self.members if any(m.awaited is one for one in ready)]:
                yield from self._listen(member)

    def dismiss(self, member: _Member) -> None:
        """End its process, whatever it is doing, and drop a log with nothing in it."""
        self.members.remove(member)
        with contextlib.suppress(Exception):  # it is dead already, or the cluster is
            self.ray.kill(member.actor, no_restart=True)
        member.drop_empty_log()

    # --- how many workers, and who does what ---

    def _look(self) -> None:
        """Take notice of nodes that came or went."""
        now = time.monotonic()
        if now - self._looked < self.cluster.tick:
            return
        self._looked, self._nodes = now, alive(self.ray)
        if room(self._nodes, self._gpus) or any(member.node for member in self.members):
            self._bare_since, self._had_room = None, True
            return
        needed = "1 CPU" + (f" and {self._gpus:g} GPU" if self._gpus else "")
        if self.limit is None and not self._had_room:
            raise UserError(f"no node of the Ray cluster has {needed}; if it grows on demand, say --workers.")
        self._bare_since = self._bare_since or now
        patience = self.cluster.patience
        if now - self._bare_since > patience:
            raise UserError(f"no node of the Ray cluster has had {needed} for {patience / 60:.0f} minutes.")

    def _fit(self) -> None:
        """As many workers as there is work and room for."""
        given = [*self._again, *(member.job for member in self.members if member.job is not None)]
        alone = any(job.alone for job in given)
        wanted = 1 if alone else min(self.limit or room(self._nodes, self._gpus), self.schedule.left)
        present = [member for member in self.members if member.lost is None]
        spare = [m for m in present if not m.node] + [m for m in present if m.node and m.job is None]
        for member in spare[: max(0, len(present) - wanted)]:
            self.dismiss(member)
        for _ in range(wanted - len(present)):
            log = self.settings.logs / f"worker-{next(self._numbers)}.log"
            actor = self._hire.remote(self.settings, log, Path.cwd())
            self.members.append(_Member(actor, actor.greet.remote(self.places, self.cluster.lateness), log=log))

    def _hand_out(self) -> Iterator[Event]:
        for member in [m for m in self.members if m.node and m.job is None and m.lost is None]:
            job = self._again.popleft() if self._again else self.schedule.start()
            if job is None:
                return
            if job.alone and member.used:  # what earlier jobs left in memory is in its way: a new process will take it
                self._again.appendleft(job)
                self.dismiss(member)
                return
            member.give(job)
            member.used = True
            member.awaited = member.actor.run.options(num_returns="streaming").remote(job)
            yield Event("started", job)

    # --- what workers say ---

    def _listen(self, member: _Member) -> Iterator[Event]:
        try:
            if member.job is None:
                self._welcome(member, self.ray.get(member.awaited))
                return
            kind, content, hurt = self.ray.get(next(member.awaited))
        except self.ray.exceptions.RayError as error:
            if member.job is None:
                self._explain_false_start(error)
            member.awaited, member.lost, member.verdict_at = None, error, time.monotonic() + self.cluster.grace
            return
        if kind != "step":
            member.awaited = None
        if hurt:
            self.dismiss(member)
        yield from member.heard(kind, content, self.schedule)

    def _welcome(self, member: _Member, hello: Greeting) -> None:
        member.node, member.host, member.awaited = hello.node, hello.host, None
        self._false_starts = 0
        if hello.version != VERSION:
            raise UserError(f"node {hello.host} has clipfed-bench {hello.version}, and this machine {VERSION}.")
        refuse_unseen(hello.unseen, hello.host)

    def _explain_false_start(self, error: Exception) -> None:
        """Raise UserError for a reason that will stay; a node that died is not one."""
        self._false_starts += 1
        stays = isinstance(error, (self.ray.exceptions.RayTaskError, self.ray.exceptions.RuntimeEnvSetupError))
        if stays or getattr(error, "actor_init_failed", False) or self._false_starts > _FALSE_STARTS:
            last = str(error).strip().splitlines()[-1]
            raise UserError(f"no worker can be started on the Ray cluster: {last}") from error

    # --- failures ---

    def _stop_late_cells(self) -> Iterator[Event]:
        limit = self.settings.cell_timeout
        for member in list(self.members):
            if limit is not None and member.lost is None and member.left(limit) <= -self.cluster.last_words:
                self.dismiss(member)
                yield from member.heard("failed", explain_timeout(limit, member.last, member.log), self.schedule)

    def _judge(self) -> Iterator[Event]:
        """Decide about workers that were lost: did their node die, or only their process?"""
        for member in [m for m in self.members if m.lost is not None]:
            dead = member.node not in {node["NodeID"] for node in alive(self.ray)}
            if member.job is not None and not dead and time.monotonic() < member.verdict_at:
                continue
            job, seconds = member.job, member.seconds
            self.dismiss(member)
            if job is None:
                continue
            failure = self._loss(job, member.host) if dead else _death(member)
            if dead and self._losses[job.id] <= self.cluster.retries:
                self._again.append(job)
                yield Event("retried", job, failure=failure, seconds=seconds)
            else:
                yield from member.heard("failed", failure, self.schedule)

    def _loss(self, job: Job, host: str) -> Failure:
        self._losses[job.id] += 1
        count = self._losses[job.id]
        error = f"node {host} died" + (f" ({count} nodes have died under this job)" if count > 1 else "")
        return Failure(error, error)


def _death(member: _Member) -> Failure:
    """Ray does not say which signal it was; what kills a process without a word is the system, for memory."""
    how = f"on {member.host} died (the system does this when memory runs out: try fewer --workers)"
    failure = explain_death(how, member.log, memory=True)
    return replace(failure, traceback=f"{failure.traceback}\nRay's account: {member.lost}")
