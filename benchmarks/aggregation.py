"""Each registered defense's aggregation, at several numbers of clients, on the parameters of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import ours
from benchmarks.ceilings import FLOAT, Ceilings, Work
from benchmarks.limit import TooLongError, at_most
from benchmarks.memory import peak_memory
from benchmarks.scale import Scale
from benchmarks.timing import Clock, Spread, spread
from benchmarks.world import World, round_world
from clipfed_bench.api import ClientUpdates, Defense, RoundContext
from clipfed_bench.components.registry import defenses
from clipfed_bench.core.errors import UserError
from clipfed_bench.execution.memory import ran_out_of_memory
from clipfed_bench.toolbox.rng import generator

NOTES = {"fltrust": "trains a model on the server", "rkd": "asks each model of its ensemble about the server's images"}
"""Why some take longer than to read the updates."""
COPIES = 1.25
"""Room for so much of what the updates take has to be free, beyond them; no defense takes that much: the most is what
nearest-neighbor mixing hands on (the tables say how much)."""


@dataclass(frozen=True)
class Aggregation:
    """One defense at one number of clients."""

    model: str
    defense: str
    clients: int
    params: int
    milliseconds: Spread | None
    """None where it was left out."""
    floor_ms: float
    """Of a mean."""
    peak_bytes: float | None = None
    """Most memory that it takes beyond the updates, in its first round."""
    note: str = ""
    """Why it was left out, or what its time includes."""


def import_libraries() -> None:
    """What defenses import in their first aggregation: the limit on its time must not end an import half-way."""
    for name in ("hdbscan", "scipy.fft", "scipy.linalg.blas", "sklearn.cluster"):
        import_module(name)


def measure_aggregations(
    model: str, device: str, scale: Scale, ceilings: Ceilings, work: Work
) -> Iterator[Aggregation]:
    """All defenses; those that take too much memory or time are there without a time, and say why."""
    import_libraries()
    world = round_world(model, device, scale)
    server = world.server(scale.server_images, ours.compute(device, ours.default(device, model)))
    flat = world.model()
    slow: dict[str, float] = {}
    for count in scale.counts:
        floor = 1e3 * ceilings.seconds(work.aggregation(count))
        needed = (1 + COPIES) * count * work.params * FLOAT
        free = free_memory(device)
        updates = None if needed > free else make_updates(world, flat.params, flat.buffers, count)
        for name in defenses():
            times: list[float] = []
            peak = None
            note = NOTES.get(name, "")
            if updates is None:
                note = f"left out: {_gigabytes(needed)} of memory wanted, {_gigabytes(free)} free"
            elif slow.get(name, 0.0) * count > scale.aggregation_seconds:
                note = f"left out: over {scale.aggregation_seconds:g} s"
            else:
                try:
                    times, peak = _times(world.defense(name, server), updates, scale, device)
                    slow[name] = times[-1] / count
                except TooLongError:
                    slow[name], note = math.inf, f"left out: over {scale.aggregation_seconds:g} s"
                except UserError as error:
                    note = f"left out: {error}"
                except Exception as error:
                    if not ran_out_of_memory(error):
                        raise
                    note = "left out: memory ran out"
            milliseconds = spread([1e3 * t for t in times]) if times else None
            yield Aggregation(model, name, count, work.params, milliseconds, floor, peak, note)


def _times(defense: Defense, updates: ClientUpdates, scale: Scale, device: str) -> tuple[list[float], float]:
    """(seconds of each aggregation but the first, which has a limit; bytes that the first takes at its peak)."""
    clock = Clock(device)
    with at_most(scale.aggregation_seconds, cpu=not device.startswith("cuda")), peak_memory(device) as peak:
        defense.aggregate(updates, RoundContext(1))
    times = [
        clock.seconds(partial(defense.aggregate, updates, RoundContext(number + 2)))
        for number in range(scale.aggregations)
    ]
    return times, peak.bytes


def make_updates(world: World, params: Tensor, buffers: Tensor, count: int) -> ClientUpdates:
    """``count`` updates of usual size around a common direction, and as many statistics like the global ones."""
    deltas = torch.empty(count, len(params), device=params.device)
    stream = generator(0, "bench-updates", count)
    common = torch.randn(len(params), generator=stream)
    for row in deltas:
        row.copy_(0.01 * (common + torch.randn(len(params), generator=stream)))
    sizes = torch.full((count,), float(len(world.federation.clients[0])), dtype=torch.float64)
    return ClientUpdates(deltas, buffers.repeat(count, 1), sizes, tuple(range(count)), params, buffers)


def free_memory(device: str, meminfo: Path = Path("/proc/meminfo")) -> float:
    """Bytes that are free on ``device``; infinity where the system does not tell."""
    if device.startswith("cuda"):
        return float(torch.cuda.mem_get_info()[0])
    try:
        found = [line.split()[1] for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:")]
    except OSError:
        found = []
    return 1024 * float(found[0]) if found else float("inf")


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
