"""Where data is looked for and where decoded arrays are kept."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir

from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.files import expand


def cache_root() -> Path:
    """The project's cache folder: environment ``CLIPFED_BENCH_CACHE``, else the user's cache folder."""
    return expand(os.environ.get("CLIPFED_BENCH_CACHE") or user_cache_dir("clipfed-bench"), "CLIPFED_BENCH_CACHE")


def data_root(data_dir: Path | None = None) -> Path:
    """The folder data sets are found under: ``data_dir``, else ``CLIPFED_BENCH_DATA``, else ``data`` in the cache.

    Raises UserError for a ``data_dir`` that is not there: nothing is to be downloaded to a place that was misspelled.
    """
    if data_dir is not None:
        folder = expand(data_dir, "--data-dir")
        if not folder.is_dir():
            raise UserError(f"--data-dir: there is no folder {shown(folder)}.")
        return folder
    chosen = os.environ.get("CLIPFED_BENCH_DATA")
    return expand(chosen, "CLIPFED_BENCH_DATA") if chosen else cache_root() / "data"
