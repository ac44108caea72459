"""What commands read of a run: results, history, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipfed_bench.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A run as read from its folder; the frames are those of :meth:`clipfed_bench.runs.store.RunStore.frames`."""

    name: str
    folder: Path
    """Where what is made of the run is written, if the user does not say."""
    results: pd.DataFrame
    history: pd.DataFrame
    """Empty where the run is a file without a history.parquet beside it."""
    warnings: tuple[str, ...] = ()


def read_run(path: Path) -> Run:
    """The cells in a run folder, else its exported files; or a results.parquet with the history.parquet beside it.

    Raises UserError for anything else, and where there are no cells.
    """
    if not path.exists():
        raise UserError(f"there is no run folder {path}; 'clipfed-bench grid --out {path}' would make one.")
    folder = path if path.is_dir() else path.parent
    name = folder.resolve().name or "run"
    if (path / "cells").is_dir():
        from clipfed_bench.runs.store import RunStore

        store = RunStore(path)
        results, history = store.frames()
        run = Run(name, folder, results, history, tuple(store.warnings))
    else:
        results = _read(path / "results.parquet" if path.is_dir() else path)
        run = Run(name, folder, results, _read_history(folder, results))
    if run.results.empty and run.warnings:
        more = f" ({len(run.warnings) - 1} more like it)" if len(run.warnings) > 1 else ""
        raise UserError(f"{path} holds no usable cell: {run.warnings[0]}{more}")
    if run.results.empty:
        raise UserError(f"{path} holds no cells yet; run the grid first.")
    return run


def _read_history(folder: Path, results: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of the cells of ``results``; none if they were not exported."""
    import pandas as pd

    path = folder / "history.parquet"
    if not path.exists():
        return pd.DataFrame()
    history = _read(path)
    if "key" not in history or "key" not in results:
        return pd.DataFrame()
    return history[history["key"].isin(results["key"])]


def _read(path: Path) -> pd.DataFrame:
    from clipfed_bench.runs.frames import read_results

    if not path.exists():
        raise UserError(f"{path.parent} is not a run folder: it has neither cells nor results.parquet.")
    return read_results(path)
