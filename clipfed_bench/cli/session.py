"""Cells into a run folder: what ``grid`` and ``run`` have in common."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import typer
from rich.console import Console

from clipfed_bench.cli.progress import Board, Display, LiveDisplay, PlainDisplay, Silent, label, telling
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.core.provenance import provenance
from clipfed_bench.core.work_counts import in_words
from clipfed_bench.execution import local, ray
from clipfed_bench.execution.estimate import Estimate, make_estimate
from clipfed_bench.execution.gpu import (
    Precision,
    Steps,
    cells_at_a_time,
    resolve_graphs,
    resolve_precision,
    resolve_streams,
)
from clipfed_bench.execution.jobs import STAGES, Event, Job, plan
from clipfed_bench.execution.journal import Account
from clipfed_bench.execution.machine import Device, cores, resolve_device
from clipfed_bench.execution.ray_cluster import Cluster, ready
from clipfed_bench.execution.worker import Settings
from clipfed_bench.runs.folder import checkpoints, clean, command, drop_checkpoints, drop_prefixes, held, prefixes
from clipfed_bench.runs.store import RunStore

RUNS = Path("results/runs")


@dataclass(frozen=True)
class Places:
    """Where a command computes and where its files are, as the user said."""

    folder: Path
    device: Device = "auto"
    workers: int | None = None
    data_dir: Path | None = None
    cache_dir: Path | None = None
    warmups: Path | None = None
    cluster: Cluster | None = None
    """Ray cluster to compute on; None: processes of this machine."""
    checkpoint_every: int | None = None
    """Rounds between checkpoints of an unfinished cell, 0: none; None: by time."""
    cell_timeout: float | None = None
    """Seconds that a cell may take."""
    precision: Precision = "auto"
    steps: Steps = "auto"
    streams: int | None = None
    """Clients of a cell that train side by side; None: 4 on a GPU."""

    def __post_init__(self) -> None:
        for option, path in (
            ("out", self.folder),
            ("data-dir", self.data_dir),
            ("cache-dir", self.cache_dir),
            ("warmups", self.warmups),
        ):
            if path is not None and path.exists() and not path.is_dir():
                raise UserError(f"--{option}: {path} is a file; name a folder.")
        if self.data_dir is not None and not self.data_dir.exists():
            raise UserError(f"--data-dir: there is no folder {self.data_dir}.")


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM is as good as Ctrl-C: workers are ended, and it is said how to go on."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Session:
    """One invocation on some cells. Nothing is written before :meth:`run`."""

    def __init__(
        self,
        cells: Sequence[CellSpec],
        places: Places,
        skip_failed: bool = False,
        keep_models: Collection[str] = (),
    ) -> None:
        """``keep_models``: keys of cells whose final model is to be stored; done without it, they are run again."""
        self.cells = cells
        self.places = places
        self.keep_models = frozenset(keep_models)
        self.store = RunStore(places.folder)
        self.account = Account(places.folder)
        self.console = Console()
        self._settled = {"done", "failed"} if skip_failed else {"done"}
        self._sharing: Counter[str] = Counter()
        self._look()

    def _look(self) -> None:
        """Find out what is to do."""
        self.statuses = self.store.statuses(cell.key for cell in self.cells)
        for key in self.keep_models:
            if not (self.models / f"{key}.safetensors").exists():
                self.statuses.pop(key, None)
        self.todo = [cell for cell in self.cells if self.statuses.get(cell.key) not in self._settled]
        self.jobs = plan(self.todo)

    @cached_property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        cluster = self.places.cluster
        return cluster.device(self.places.device) if cluster else resolve_device(self.places.device)

    @property
    def precision(self) -> str:
        """``float32`` or ``bfloat16``."""
        return resolve_precision(self.places.precision, self.device)

    @property
    def workers(self) -> int:
        """Processes worth having."""
        default = cores if self.device == "cpu" else cells_at_a_time
        return max(1, min(self.places.workers or default(), len(self.todo)))

    @property
    def environment(self) -> Environment:
        """Where cells run."""
        warmups = self.places.warmups or self.places.folder / "warmups"
        places = self.places
        return Environment(
            self.device,
            places.data_dir,
            places.cache_dir,
            warmups,
            self.models,
            self.keep_models,
            checkpoint_dir=checkpoints(places.folder).absolute(),
            checkpoint_every=places.checkpoint_every,
            precision=self.precision,
            graphs=resolve_graphs(places.steps, self.device),
            streams=resolve_streams(places.streams, self.device),
            prefix_dir=prefixes(places.folder).absolute(),
        )

    def estimate(self) -> Estimate:
        """How long jobs take, judging by the cells of this grid that are done, on this kind of device and precision."""
        way, done = (self.device, self.precision), {c.key: c for c in self.cells if self.statuses.get(c.key) == "done"}
        if not done:
            return make_estimate(way, {})
        frame = self.store.frames(done)[0].set_index("key")
        alike = frame.reindex(columns=["device", "precision"]).eq(list(way)).all(axis=1)
        seconds = frame.loc[alike, ["seconds_local", "seconds_defense", "seconds_eval"]].sum(axis=1)
        return make_estimate(way, {key: (cell, float(seconds[key])) for key, cell in done.items() if key in seconds})

    @property
    def models(self) -> Path:
        """Folder of the models that are kept."""
        return self.places.folder / "models"

    def run(self, quiet: bool = False, rounds: bool = False, tables: bool = True) -> None:
        """Compute what is to do and store it; show and write ``tables``. Raises typer.Exit if a cell failed."""
        if self.jobs and self.places.cluster:
            ready(self.places.cluster)
        if self.jobs:
            _ = self.environment  # what the device cannot do is said before anything is written
        try:
            self.places.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out: {self.places.folder} cannot be made: {error.strerror}.") from None
        try:
            with _termination_interrupts(), held(self.places.folder):
                self._begin(quiet)
                if self.jobs:
                    self._compute(quiet, rounds)
                if tables:
                    self._show_tables()
                self._report_failures()
        except KeyboardInterrupt:
            self.account.write("interrupted")
            typer.echo(f"Interrupted. Cells that are done are stored; to go on:\n  {command()}", err=True)
            raise typer.Exit(130) from None
        except UserError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            self.account.write("stopped", error=str(error))
            raise UserError(f"{error}\nCells that are done are stored; to go on:\n  {command()}") from error

    def _begin(self, quiet: bool) -> None:
        """Take stock: others may have worked here since it was last looked, and may have been killed."""
        self._look()
        done = [key for key, status in self.statuses.items() if status == "done"]
        clean(self.places.folder, done)
        # Rounds that cells share are kept until none of them is left to do: they may be large.
        unfinished = [cell for cell in self.cells if cell.key not in done]
        self._sharing = Counter(cell.prefix_key for cell in unfinished if cell.prefix_rounds)
        drop_prefixes(self.places.folder, {cell.prefix_key for cell in self.cells}.difference(self._sharing))
        self.account.write("grid", pid=os.getpid(), command=command(), cells=len(self.cells), done=len(done))
        if done and not quiet:
            self.console.print(f"{len(done)} of {len(self.cells)} cells are done already.", highlight=False)
        for problem in self.store.broken(cell.key for cell in self.cells):
            typer.echo(f"warning: {problem}; the cell is run again", err=True)

    def _compute(self, quiet: bool, rounds: bool) -> None:
        guess = make_estimate((self.device, self.precision), {})
        weights = {job.id: guess.seconds(job) for job in self.jobs}
        # Longest first, so that no worker is left with a long cell at the end; equal ones stay in order.
        jobs = sorted(self.jobs, key=lambda job: (STAGES.index(job.stage), -weights[job.id]))
        settings = Settings(self.environment, self.places.folder / "logs", cell_timeout=self.places.cell_timeout)
        done = sum(status == "done" for status in self.statuses.values())
        board = Board(weights, len(self.cells), done, also=telling(self.cells))
        try:
            with (
                self._display(board, quiet, rounds) as display,
                contextlib.closing(self._execute(jobs, settings)) as events,
            ):
                for event in events:
                    self._store(event)
                    self.account.record(event)
                    display.handle(event)
        finally:
            clean(self.places.folder, ())  # of what workers left that were killed, also where this grid goes on
            drop_prefixes(self.places.folder, ())
            self.account.write("computed", computed=self.account.computed)
        if not quiet and self.account.computed:
            self.console.print(f"Computed: {in_words(self.account.computed)}.", highlight=False, soft_wrap=True)

    def _execute(self, jobs: Sequence[Job], settings: Settings) -> Generator[Event, None, None]:
        if self.places.cluster is None:
            return local.execute(jobs, self.workers, settings)
        return ray.execute(jobs, self.places.workers, settings, self.places.cluster)

    def _display(self, board: Board, quiet: bool, rounds: bool) -> Display:
        if quiet:
            return Silent()
        if self.console.is_terminal and not rounds:
            return LiveDisplay(board, self.console)
        return PlainDisplay(board, typer.echo, rounds)

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

    def _show_tables(self) -> None:
        from clipfed_bench import report

        keys = [cell.key for cell in self.cells]
        self.store.export(keys)
        results = self.store.frames(keys)[0]
        paths = [*report.write_tables(self.store.folder, results), self.store.folder / "results.parquet"]
        self.console.print(report.screen(results))
        typer.echo("\n".join(f"wrote {path}" for path in [*paths, self.store.folder / "history.parquet"]))

    def _report_failures(self) -> None:
        failures = {cell: self.store.failure(cell.key) for cell in self.cells}
        failed = {cell: failure for cell, failure in failures.items() if failure is not None}
        if failed:
            cell, (error, _) = next(iter(failed.items()))
            name = label(Job(cell.key, "cell", cell), telling(self.cells))
            typer.echo(f"{len(failed)} of {len(self.cells)} cells failed. The first is {name}: {error}", err=True)
            typer.echo(f"Tracebacks: {self.store.cells}/KEY.json. The same command tries them again.", err=True)
            raise typer.Exit(1)
