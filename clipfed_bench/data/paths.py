"""Where data is looked for and where decoded arrays are kept."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir


def cache_root() -> Path:
    """The project's cache folder: environment ``CLIPFED_BENCH_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("CLIPFED_BENCH_CACHE") or user_cache_dir("clipfed-bench")).expanduser()


def data_root(data_dir: Path | None = None) -> Path:
    """The folder data sets are found under: ``data_dir``, else ``CLIPFED_BENCH_DATA``, else ``data`` in the cache."""
    chosen = data_dir or os.environ.get("CLIPFED_BENCH_DATA")
    return Path(chosen).expanduser() if chosen else cache_root() / "data"
