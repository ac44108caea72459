"""How much memory some work takes at its peak."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from clipfed_bench.execution.allocator import return_freed_memory

_SELF = Path("/proc/self")


class Peak:
    """Bytes at the peak beyond those held at the start; nan where the system does not tell."""

    def __init__(self) -> None:
        self.bytes = float("nan")


@contextmanager
def peak_memory(device: str) -> Iterator[Peak]:
    """Watch the ``with`` block: memory that torch allocated on a GPU, or the process's resident memory on Linux."""
    peak = Peak()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield peak
        peak.bytes = float(torch.cuda.max_memory_allocated() - before)
        return
    return_freed_memory()
    try:
        (_SELF / "clear_refs").write_text("5")  # the high-water mark starts again from what is held
        held = _status("VmRSS")
    except (OSError, ValueError):
        yield peak
        return
    yield peak
    peak.bytes = max(0.0, _status("VmHWM") - held)


def _status(name: str) -> float:
    """A figure of this process in bytes. Raises ValueError where it is not there."""
    for line in (_SELF / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * float(line.split()[1])
    raise ValueError(name)
