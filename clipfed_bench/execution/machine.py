"""What this machine has: cores this process may use, and whether torch sees a GPU. Never imports torch here."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Literal

from clipfed_bench.core.errors import UserError
from clipfed_bench.execution.gpu import cells_at_a_time, gpu_name

Device = Literal["cpu", "cuda", "auto"]


def cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores this process may use: those of its affinity, or fewer where a container's quota says so."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, another kind of container, or "max": no quota
        return count


def cells_here(asked: int | None, device: str, cells: int) -> int:
    """Processes worth having for ``cells`` on this machine: as many as asked for, else as it has room for."""
    default = cores if device == "cpu" else cells_at_a_time
    return max(1, min(asked or default(), cells))


def resolve_device(device: Device) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes a GPU that torch can use. Raises UserError for one that is not there."""
    if device == "cpu":
        return "cpu"
    if _torch_sees_gpu():
        return "cuda"
    if device == "cuda":
        raise UserError("device: torch sees no GPU here; use --device cpu, or install the driver and a CUDA torch.")
    return "cpu"


def _torch_sees_gpu() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return gpu_name() is not None
