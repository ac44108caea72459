"""A run: cells into a run folder, whoever asks for it. Nothing is printed here; a :class:`Watcher` is told of it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from traceback import format_exception
from typing import Protocol

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import telling
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.core.notices import notice
from clipfed_bench.core.provenance import provenance
from clipfed_bench.execution.board import Board
from clipfed_bench.execution.estimate import Estimate, make_estimate
from clipfed_bench.execution.executor import execute
from clipfed_bench.execution.jobs import STAGES, Event, Job, plan
from clipfed_bench.execution.journal import Account
from clipfed_bench.execution.machine import cells_here
from clipfed_bench.execution.places import Places
from clipfed_bench.execution.worker import RUNNER, Settings
from clipfed_bench.runs.digests import changed
from clipfed_bench.runs.folder import clean, drop_checkpoints, drop_prefixes, held, models
from clipfed_bench.runs.store import RunStore
from clipfed_bench.simulator.digests import Digests
from clipfed_bench.simulator.manner import warmup_file

Show = AbstractContextManager[Callable[[Event], None]]
"""A context while jobs run, which gives what is called with each event."""


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C or SIGTERM; its workers are ended. The message says how to go on."""


@dataclass(frozen=True)
class Stock:
    """What there is of a run's cells when it begins."""

    cells: int
    done: int
    broken: Sequence[str]
    """Why files that are there cannot be used, a line each; their cells are run again."""
    stale: str = ""
    """How many were computed from something else than there is now, from what, and what becomes of them."""


class Watcher(Protocol):
    """Is told of a run, in the thread that called it and while the run folder is held. What it raises ends the run."""

    def began(self, stock: Stock) -> None:
        """The folder is held, and nothing is computed yet."""

    def computing(self, board: Board) -> Show:
        """Jobs are about to run. The board has taken notice of each event before it is shown."""

    def finished(self, computed: Mapping[str, int]) -> None:
        """All cells are stored. ``computed``: pieces of shared work by kind (:mod:`clipfed_bench.core.work_counts`)."""


class Session:
    """One invocation on some cells. Nothing is written before :meth:`run`."""

    def __init__(
        self,
        cells: Sequence[CellSpec],
        places: Places,
        skip_failed: bool = False,
        keep_models: Collection[str] = (),
        runner: str = RUNNER,
        keep_stale: bool = False,
    ) -> None:
        """``keep_models``: keys of cells whose final model is to be stored; done without it, they are run again.

        ``keep_stale``: cells that are done count as done, also where what they were computed from has changed.
        ``runner``: the module that workers run, see :class:`~clipfed_bench.execution.worker.Settings`.
        """
        self.cells = cells
        self.places = places
        self.keep_models = frozenset(keep_models)
        self.store = RunStore(places.folder)
        self.account = Account(places.folder)
        self._runner, self._keep_stale = runner, keep_stale
        self._lost: dict[CellSpec, str] = {}
        self._settled = {"done", "failed"} if skip_failed else {"done"}
        self._sharing: Counter[str] = Counter()
        self._hopeless: dict[str, str] = {}
        self._look()

    def give_up(self, reasons: Mapping[str, str]) -> None:
        """Leave out the cells with these keys: a run stores that they failed, and why."""
        self._hopeless |= reasons
        self._look()

    def _look(self) -> None:
        """Find out what is to do."""
        self.statuses = self.store.statuses(self.keys)
        self._changes = self._stale()
        if not self._keep_stale:
            self.statuses |= dict.fromkeys(self._changes, "stale")
        for key in self.keep_models:
            if not (models(self.places.folder) / f"{key}.safetensors").exists():
                self.statuses.pop(key, None)
        wanted = (cell for cell in self.cells if cell.key not in self._hopeless)
        self.todo = [cell for cell in wanted if self.statuses.get(cell.key) not in self._settled]
        self.jobs = plan(self.todo)

    @cached_property
    def _now(self) -> Digests:
        """What there is to compute from."""
        return Digests(self.places.data_dir)

    def _stale(self) -> dict[str, list[str]]:
        """Keys of cells that were computed from something else than there is now -> what it is."""
        done = {cell.key: cell for cell in self.cells if self.statuses.get(cell.key) == "done"}
        if not done:
            return {}
        now = self._now
        found = {k: changed(cell.as_dict(), self.store.digests(k), now.of(cell)) for k, cell in done.items()}
        return {key: reasons for key, reasons in found.items() if reasons}

    @property
    def stale(self) -> str:
        """How many cells are stale, why, and what becomes of them; empty where none is."""
        reasons = Counter(reason for reasons in self._changes.values() for reason in reasons)
        why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        then = "They are kept as they are" if self._keep_stale else "They are computed anew, unless with --keep-stale"
        return f"{len(self._changes)} of {len(self.cells)} cells are stale: {why}. {then}." if reasons else ""

    @property
    def keys(self) -> list[str]:
        """Of the cells, in their order."""
        return [cell.key for cell in self.cells]

    @property
    def done(self) -> list[str]:
        """Keys of the cells that were done when it was last looked."""
        return [key for key, status in self.statuses.items() if status == "done"]

    @cached_property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.places.engine.device(self.places.device)

    @property
    def workers(self) -> int:
        """Processes worth having, as on this machine."""
        return cells_here(self.places.workers, self.device, len(self.todo))

    @property
    def environment(self) -> Environment:
        """Where cells run. Raises UserError for what the device cannot do."""
        return self.places.environment(self.device, self.keep_models)

    def estimate(self) -> Estimate:
        """How long jobs take, judging by the cells of this grid that are done, on this kind of device and precision."""
        way, known = self._way, ("done", "stale")
        done = {cell.key: cell for cell in self.cells if self.statuses.get(cell.key) in known}
        if not done:
            return make_estimate(way, {}, self._kept)
        frame = self.store.frames(done)[0].set_index("key")
        alike = frame.reindex(columns=["device", "precision"]).eq(list(way)).all(axis=1)
        seconds = frame.loc[alike, ["seconds_local", "seconds_defense", "seconds_eval"]].sum(axis=1)
        times = {key: (cell, float(seconds[key])) for key, cell in done.items() if key in seconds}
        return make_estimate(way, times, self._kept)

    @property
    def _kept(self) -> frozenset[str]:
        """Ids of the warm-ups whose checkpoint is there; that it is whole and of today is seen when it is read."""
        warmups, env = (job for job in self.jobs if job.stage == "warmup"), self.environment
        return frozenset(job.id for job in warmups if warmup_file(job.spec, env).exists())

    @property
    def _way(self) -> tuple[str, str]:
        return self.device, self.environment.precision

    def failures(self) -> dict[CellSpec, str]:
        """The cells that are stored as failed, or failed now and keep a stale result, each with the error in a line."""
        found = {cell: self.store.failure(cell.key) for cell in self.cells}
        return self._lost | {cell: failure[0] for cell, failure in found.items() if failure is not None}

    def run(self, watcher: Watcher, command: str) -> None:
        """Compute what is to do and store it. Cells that fail are stored as failed.

        ``command`` is what starts this run, to be shown to people: in the folder, and where they are told how to go on.
        Raises UserError where the folder is in use or cannot be written, and Interrupted.
        """
        if self.jobs:
            self.places.engine.check()
            _ = self.environment, self._weights()  # what device or model cannot do is said before anything is written
        try:
            self.places.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out: {self.places.folder} cannot be made: {error.strerror}.") from None
        go_on = f"Cells that are done are stored; to go on:\n  {command}"
        try:
            with _termination_interrupts(), held(self.places.folder, command):
                watcher.began(self._begin(command))
                if self.jobs:
                    self._compute(watcher)
                watcher.finished(self.account.computed)
        except KeyboardInterrupt:
            self.account.write("interrupted")
            raise Interrupted(go_on) from None
        except UserError as error:
            if error.__cause__ is not None:
                self.account.write("stopped", error=str(error), traceback="".join(format_exception(error)))
            if not isinstance(error.__cause__, OSError):
                raise
            raise UserError(f"{error}\n{go_on}") from error

    def _begin(self, command: str) -> Stock:
        """Take stock: others may have worked here since it was last looked, and may have been killed."""
        self._look()
        clean(self.places.folder, self.done)
        for cell in self.cells:
            if cell.key in self._hopeless:
                self.store.put_failure(cell, self._hopeless[cell.key], "", provenance("cpu") | {"device": self.device})
        # Rounds that cells share are kept until none of them is left to do: they may be large.
        unfinished = [cell for cell in self.cells if cell.key not in self.done]
        self._sharing = Counter(cell.prefix_key for cell in unfinished if cell.prefix_rounds)
        drop_prefixes(self.places.folder, {cell.prefix_key for cell in self.cells}.difference(self._sharing))
        counts = {"cells": len(self.cells), "done": len(self.done), "stale": self.stale}
        self.account.write("grid", pid=os.getpid(), command=command, **counts)
        return Stock(len(self.cells), len(self.done), self.store.broken(self.keys), self.stale)

    def _compute(self, watcher: Watcher) -> None:
        weights = self._weights()
        # Longest first, so that no worker is left with a long cell at the end; equal ones stay in order.
        jobs = sorted(self.jobs, key=lambda job: (STAGES.index(job.stage), -weights[job.id]))
        board = Board(weights, len(self.cells), len(self.done), also=telling(self.cells))
        try:
            with watcher.computing(board) as show, contextlib.closing(self._execute(jobs)) as events:
                for event in events:
                    self._store(event)
                    self.account.record(event)
                    if event.step is not None and event.step.note and not event.step.stage:
                        notice(event.step.note)  # once, however many workers say it
                    board.handle(event)
                    show(event)
        finally:
            clean(self.places.folder, ())  # of what workers left that were killed, also where this grid goes on
            drop_prefixes(self.places.folder, ())
            self.account.write("computed", computed=self.account.computed)

    def _weights(self) -> dict[str, float]:
        """Expected seconds of each job. Raises UserError for images that a model cannot take."""
        guess = make_estimate(self._way, {})
        return {job.id: guess.seconds(job) for job in self.jobs}

    def _execute(self, jobs: Sequence[Job]) -> Generator[Event, None, None]:
        places = self.places
        settings = Settings(self.environment, places.folder / "logs", self._runner, places.cell_timeout)
        return execute(places.executor, places.engine, jobs, places.workers, settings)

    def _store(self, event: Event) -> None:
        job = event.job
        if job.stage != "cell":
            return
        if event.outcome is not None:
            self.store.put(job.spec, event.outcome)
            drop_checkpoints(self.places.folder, [job.spec.key])
            self._sharing[job.spec.prefix_key] -= 1
            if self._sharing[job.spec.prefix_key] == 0:
                drop_prefixes(self.places.folder, [job.spec.prefix_key])
        elif event.kind == "failed" and event.failure is not None:
            facts = provenance("cpu") | {"device": self.device}
            self.store.put_failure(job.spec, event.failure.error, event.failure.traceback, facts)
            if self.store.status(job.spec.key) == "done":  # from before: its numbers stay until there are others
                self._lost[job.spec] = f"{event.failure.error} (its result from before stays)"
                self.account.write("lost", job=job.id, traceback=event.failure.traceback)


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM is as good as Ctrl-C, in the main thread: workers are ended, and it is said how to go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
