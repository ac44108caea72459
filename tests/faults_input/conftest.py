"""A working folder, cache and data folder of their own for every case; no network; limits on what fuzzing costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

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

    known = replace(catalog.originals()["cifar10"], train=(6,) * 10, test=(2,) * 10, mean=None)
    monkeypatch.setitem(catalog.originals(), "cifar10", known)


@pytest.fixture
def install(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package of modules with an entry point, as pip would."""
    from clipfed_bench.components import entry_points as plugins
    from clipfed_bench.components import registry
    from clipfed_bench.data import catalog
    from clipfed_bench.runs import metric_catalog, plugin_metrics

    site = place.parent / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)
    found = plugins.entry_points

    def forget() -> None:
        registry._registered.cache_clear()
        catalog.registered.cache_clear()
        metric_catalog.added.cache_clear()
        plugin_metrics._made.cache_clear()

    def make(
        modules: dict[str, str | bytes], value: str = "strangers", name: str = "theirs", kind: str = "attack"
    ) -> None:
        package = site / "strangers"
        package.mkdir()
        for module, source in {"__init__": "", **modules}.items():
            (package / f"{module}.py").write_bytes(source if isinstance(source, bytes) else source.encode())
        entry = EntryPoint(name, value, f"clipfed_bench.{kind}s")
        monkeypatch.setattr(
            plugins, "entry_points", lambda group: [*found(group=group), *([entry] if group == entry.group else [])]
        )
        forget()

    yield make
    forget()
    for module in set(sys.modules) - before:
        if module.startswith("strangers"):
            del sys.modules[module]
