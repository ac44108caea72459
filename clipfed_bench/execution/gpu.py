"""How cells compute: precision, kind of steps and kernels, and how many share a GPU. Never imports torch here."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from clipfed_bench.core.errors import DamagedFileError, UserError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.paths import cache_root
from clipfed_bench.core.untrusted import read_json

Precision = Literal["auto", "float32", "bfloat16"]
Steps = Literal["auto", "eager", "graph"]
Kernels = Literal["auto", "torch", "numba"]


def resolve_precision(precision: Precision, device: str) -> str:
    """``float32`` or ``bfloat16``; ``auto`` is bfloat16 on a GPU and float32 on a CPU."""
    if precision == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return precision


def resolve_kernels(kernels: Kernels, device: str, precision: str) -> str:
    """``torch`` or ``numba``; ``auto``: Numba's on a CPU in float32, where it is installed. Raises UserError."""
    installed, fitting = find_spec("numba") is not None, (device, precision) == ("cpu", "float32")
    if kernels == "numba" and not fitting:
        raise UserError(f"--kernels: numba is for a CPU in float32, not {device} in {precision}; there it is torch.")
    if kernels == "numba" and not installed:
        raise UserError("--kernels: numba is not installed: pip install 'clipfed-bench[fast]', or use --kernels torch.")
    return "numba" if kernels != "torch" and installed and fitting else "torch"


def resolve_graphs(steps: Steps, device: str) -> bool:
    """Whether steps are captured as CUDA graphs; ``auto``: on a GPU. Raises UserError for a CPU with graph."""
    if steps == "graph" and device == "cpu":
        raise UserError("--steps: graph is for GPUs; on a CPU steps are eager.")
    return device == "cuda" and steps != "eager"


STREAMS = 4
"""Clients side by side on a GPU: on an H100 ResNet-18 trained 1.5 times as fast in 4 as in 1, and no faster in 8."""


def resolve_streams(streams: int | None, device: str) -> int:
    """Clients that train side by side; None: what was measured best. Raises UserError for a CPU with more than one."""
    if streams is None:
        return STREAMS if device == "cuda" else 1
    if streams > 1 and device == "cpu":
        raise UserError(f"--streams: {streams} clients side by side are for GPUs; on a CPU it is 1.")
    return streams


def cells_at_a_time() -> int:
    """What ``clipfed-bench bench`` found best on this GPU; 1 where it has not been run."""
    measured = _measured().get(gpu_name() or "")
    return measured if isinstance(measured, int) and 1 <= measured <= 64 else 1


def keep_cells_at_a_time(name: str, cells: int) -> None:
    """Remember what was found best on the GPU called ``name``."""
    write_atomically(_file(), json.dumps(_measured() | {name: cells}).encode())


@cache
def gpu_name() -> str | None:
    """The GPU that torch uses, by torch's name for it; None: there is none.

    Only torch knows whether it can use the driver, and it is asked in another process: it takes seconds to import.
    """
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    return (done.stdout.strip() or None) if done.returncode == 0 else None


def _file() -> Path:
    return cache_root() / "cells-per-gpu.json"


def _measured() -> dict[str, object]:
    try:
        content = read_json(_file())
    except (FileNotFoundError, DamagedFileError):
        return {}
    return content if isinstance(content, dict) else {}
