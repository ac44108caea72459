"""How cells use a GPU, as far as that can be known without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.execution import gpu
from clipfed_bench.execution.places import Places
from clipfed_bench.execution.session import Session


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_precision_and_steps() -> None:
    assert [gpu.resolve_precision("auto", device) for device in ("cpu", "cuda")] == ["float32", "bfloat16"]
    assert gpu.resolve_precision("float32", "cuda") == "float32"
    assert [gpu.resolve_graphs("auto", device) for device in ("cpu", "cuda")] == [False, True]
    assert not gpu.resolve_graphs("eager", "cuda")
    assert gpu.resolve_precision("bfloat16", "cpu") == "bfloat16"
    with pytest.raises(UserError, match="--steps: graph is for GPUs"):
        gpu.resolve_graphs("graph", "cpu")
    assert (gpu.resolve_streams(1, "cpu"), gpu.resolve_streams(2, "cuda")) == (1, 2)
    assert [gpu.resolve_streams(None, device) for device in ("cpu", "cuda")] == [1, gpu.STREAMS]
    with pytest.raises(UserError, match="--streams: 4 clients side by side are for GPUs"):
        gpu.resolve_streams(4, "cpu")


def test_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    assert gpu.resolve_kernels("auto", "cpu", "float32") == "torch"
    with pytest.raises(UserError, match=r"^--kernels: numba is not installed: pip install 'clipfed-bench\[fast\]'"):
        gpu.resolve_kernels("numba", "cpu", "float32")
    monkeypatch.setattr(gpu, "find_spec", lambda name: name == "numba")
    assert [gpu.resolve_kernels(k, "cpu", "float32") for k in ("auto", "numba", "torch")] == ["numba", "numba", "torch"]
    assert gpu.resolve_kernels("auto", "cpu", "bfloat16") == gpu.resolve_kernels("auto", "cuda", "float32") == "torch"
    with pytest.raises(UserError, match=r"^--kernels: numba is for a CPU in float32, not cuda in bfloat16"):
        gpu.resolve_kernels("numba", "cuda", "bfloat16")


def test_a_gpu_takes_as_many_cells_as_were_found_best_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: "GPU A")
    assert gpu.cells_at_a_time() == 1
    gpu.keep_cells_at_a_time("GPU B", 4)
    assert gpu.cells_at_a_time() == 1
    gpu.keep_cells_at_a_time("GPU A", 3)
    assert gpu.cells_at_a_time() == 3
    monkeypatch.setattr(gpu, "gpu_name", lambda: "GPU B")
    assert gpu.cells_at_a_time() == 4


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"GPU A": "3"}', b'{"GPU A": 1000}', b"\xff", b"[" * 100_000])
def test_a_damaged_note_of_it_counts_as_none(
    content: bytes, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_folder.mkdir()
    (cache_folder / "cells-per-gpu.json").write_bytes(content)
    monkeypatch.setattr(gpu, "gpu_name", lambda: "GPU A")
    assert gpu.cells_at_a_time() == 1


def test_a_session_hands_it_to_its_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [CellSpec(dataset="digits", model="cnn", warmup_rounds=0, seed=seed) for seed in range(5)]
    monkeypatch.setattr("clipfed_bench.execution.executor.resolve_device", lambda device: "cuda")
    monkeypatch.setattr("clipfed_bench.execution.machine.cells_at_a_time", lambda: 3)
    session = Session(cells, Places(tmp_path / "run", streams=2))
    environment = session.environment
    assert (environment.precision, environment.graphs, environment.streams) == ("bfloat16", True, 2)
    assert session.workers == 3
    eager = Session(cells, Places(tmp_path / "run", precision="float32", steps="eager", workers=1))
    assert (eager.environment.precision, eager.environment.graphs, eager.workers) == ("float32", False, 1)
