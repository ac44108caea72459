"""Grids from Python: a script or a notebook asks for cells, has them run, and gets the frames of their results.

Imports neither torch nor pandas before they are needed. Messages of errors name the options of the command line:
``--data-dir`` is ``data_dir`` here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.grid import GridSpec, choose_base, make_grid, parse_values
from clipfed_bench.execution.gpu import Kernels, Precision, Steps
from clipfed_bench.execution.jobs import Event
from clipfed_bench.execution.machine import Device
from clipfed_bench.execution.needs import with_teacher
from clipfed_bench.execution.places import Places
from clipfed_bench.execution.session import Session, Stock
from clipfed_bench.runs.folder import RUNS
from clipfed_bench.runs.reading import Run, read_run

if TYPE_CHECKING:
    import pandas as pd

    from clipfed_bench.execution.board import Board


def grid(
    *, preset: str | None = None, config: str | Path | None = None, scale: str | None = None, **settings: Any
) -> GridSpec:
    """The cells of every combination of ``settings``, on top of a preset or a TOML file, if any, at one of its scales.

    With neither, the ``scale`` cpu or paper is that of the whole grid of ``clipfed-bench grid``.

    Settings are a cell's (:class:`~clipfed_bench.config.cell_spec.CellSpec`), each a value or several of them:
    ``alpha=[0.1, 0.5]``, ``attack="badnets[size=3]"``, ``defense="*"`` for all. ``seeds=3`` is ``seed=[0, 1, 2]``.
    At the scale cpu photographs have the best teacher that is installed, if none is named. Raises UserError.
    """
    base = choose_base(preset, None if config is None else Path(config), scale)
    axes = base.override(parse_values({name: _plain(value) for name, value in settings.items()}))
    if scale == "cpu" and config is None and "teacher" not in settings:
        axes = with_teacher(axes)
    return make_grid(axes)


def run_grid(
    cells: GridSpec | Iterable[CellSpec],
    folder: str | Path | None = None,
    *,
    device: Device = "auto",
    workers: int | None = None,
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    warmups: str | Path | None = None,
    executor: str = "local",
    checkpoint_every: int | None = None,
    cell_timeout: float | None = None,
    precision: Precision = "auto",
    kernels: Kernels = "auto",
    steps: Steps = "auto",
    streams: int | None = None,
    skip_failed: bool = False,
    keep_stale: bool = False,
    progress: Callable[[Board], None] | None = None,
) -> Run:
    """Compute those of ``cells`` that are not done in ``folder``, and read the results of all of them.

    As ``clipfed-bench grid``, whose options these are, it computes in processes of its own, stores each cell when it is
    done, and leaves ``results.parquet`` and ``history.parquet``. ``folder`` is by default ``results/runs/`` and the
    grid's name. ``progress`` is called here, at the start and whenever something happened, with the state of the run:
    ``cells``, ``done``, ``failed``, ``share`` in [0, 1] and ``left``, seconds or None. What it raises ends the run.

    Cells that are stale, as what they were computed from has changed, are computed anew unless ``keep_stale``; failed
    ones have rows without figures. Of both there is a warning. Raises UserError, and KeyboardInterrupt for Ctrl-C
    or SIGTERM: workers are ended then, cells that are done are stored, and the same call goes on.
    """
    name = cells.name if isinstance(cells, GridSpec) else "grid"
    chosen = cells.cells if isinstance(cells, GridSpec) else tuple({cell.key: cell for cell in cells}.values())
    data, cache, shared = (None if path is None else Path(path) for path in (data_dir, cache_dir, warmups))
    run = RUNS / name if folder is None else Path(folder)
    places = Places(run, device, workers, data, cache, shared, executor, checkpoint_every, cell_timeout)
    places = replace(places, precision=precision, kernels=kernels, steps=steps, streams=streams)
    session = Session(chosen, places, skip_failed, keep_stale=keep_stale)
    watcher = _Watcher(session, progress)
    session.run(watcher, "the same call of clipfed_bench.run_grid")
    if failures := session.failures():
        first = next(iter(failures.values()))
        warnings.warn(f"{len(failures)} of {len(chosen)} cells failed; the first: {first}", stacklevel=2)
    return Run(run.resolve().name, run, *watcher.frames)


def load_run(path: str | Path) -> Run:
    """The cells that are stored in a run folder, or in a ``results.parquet``. Raises UserError."""
    return read_run(Path(path))


def _plain(value: Any) -> Any:
    """Arrays, ranges and tuples as lists, for a setting."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


@dataclass
class _Watcher:
    session: Session
    progress: Callable[[Board], None] | None
    frames: tuple[pd.DataFrame, pd.DataFrame] = field(init=False)
    """Results and history, when it has finished."""

    def began(self, stock: Stock) -> None:
        if stock.stale:
            warnings.warn(stock.stale, stacklevel=5)
        for problem in stock.broken:
            warnings.warn(f"{problem}; the cell is run again", stacklevel=5)

    @contextmanager
    def computing(self, board: Board) -> Iterator[Callable[[Event], None]]:
        tell = self.progress or (lambda board: None)
        tell(board)
        yield lambda event: tell(board)

    def finished(self, computed: Mapping[str, int]) -> None:
        self.frames = self.session.store.export(self.session.keys)
