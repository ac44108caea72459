"""The simulator as a cell uses it, by executor and precision."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.ceilings import Ceilings
from benchmarks.world import World
from clipfed_bench.api import Attack, ClientUpdates
from clipfed_bench.components.registry import choose
from clipfed_bench.execution.gpu import resolve_kernels
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.toolbox.compute import Compute

Way = tuple[str, str]
"""Executor and precision of local training, e.g. ``("eager", "float32")``; ``numba``: eager, with kernels of it."""

STREAMS = {"eager": 1, "numba": 1, "graph": 1, "graph, 2 streams": 2, "graph, 4 streams": 4}
"""Executor -> clients that train side by side."""


def default(device: str, model: str) -> Way:
    """What a cell with ``model`` on ``device`` (cpu or cuda) takes unless it is told otherwise."""
    if device.startswith("cuda"):
        return "graph, 4 streams", "bfloat16"
    kernels = resolve_kernels("auto", device, "float32") if choose("model", model).component.compiled else "torch"
    return "eager" if kernels == "torch" else kernels, "float32"


def ways(device: str, model: str, ceilings: Ceilings) -> list[Way]:
    """All that are worth a measurement; a CPU without instructions for bfloat16 would take forever with it."""
    if device.startswith("cuda"):
        others = [("graph", "bfloat16"), ("graph, 2 streams", "bfloat16"), ("graph, 4 streams", "bfloat16")]
        return [("eager", "float32"), ("graph", "float32"), ("eager", "bfloat16"), *others]
    quick = ceilings.flops["bfloat16"] > ceilings.flops["float32"]
    found = [default(device, model), ("eager", "float32"), *([("eager", "bfloat16")] if quick else [])]
    return list(dict.fromkeys(found))


def compute(device: str, way: Way) -> Compute:
    """How steps run that way."""
    executor, precision = way
    kernels = "numba" if executor == "numba" else "torch"
    return Compute(device, precision, executor.startswith("graph"), STREAMS[executor], kernels=kernels)


def train(world: World, flat: FlatModel, way: Way, attack: Attack | None = None, round_: int = 1) -> ClientUpdates:
    """Local training of all clients from the global model ``flat``."""
    federation = replace(world.federation, executor=world.executor(compute(world.device, way)))
    return federation.train(flat, round_, world.everybody, attack)
