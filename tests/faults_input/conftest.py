"""A working folder, cache and data folder of their own for every case; no network; limits on what fuzzing costs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # data_files.py

# The same examples every time, so that a change of theirs is a change of ours.
settings.register_profile(
    "bounded",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty but for a cache; nothing is downloaded."""
    work = tmp_path / "work"
    (work / "cache").mkdir(parents=True)
    (work / "data").mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(work / "cache"))
    monkeypatch.setenv("CLIPFED_BENCH_DATA", str(work / "data"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    return work


@pytest.fixture
def small_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10 has 6 + 2 images a class."""
    from clipfed_bench.data import catalog

    known = replace(catalog.KNOWN["cifar10"], train_per_class=6, test_per_class=2, mean=None)
    monkeypatch.setitem(catalog.KNOWN, "cifar10", known)
