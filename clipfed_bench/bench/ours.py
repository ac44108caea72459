"""The simulator as a cell uses it, by executor and precision."""

from __future__ import annotations

from dataclasses import replace

from clipfed_bench.api import Attack, ClientUpdates
from clipfed_bench.bench.world import World
from clipfed_bench.simulator.compute import Compute
from clipfed_bench.simulator.params import FlatModel

Way = tuple[str, str]
"""Executor and precision of local training, e.g. ``("eager", "float32")``."""

STREAMS = {"eager": 1, "graph": 1, "graph, 2 streams": 2, "graph, 4 streams": 4}
"""Executor -> clients that train side by side."""


def ways(device: str) -> list[Way]:
    """All that ``device`` (cpu or cuda) offers; the last is what a cell takes by default."""
    if not device.startswith("cuda"):
        return [("eager", "float32")]
    others = [("graph, 2 streams", "bfloat16"), ("graph, 4 streams", "bfloat16"), ("graph", "bfloat16")]
    return [("eager", "float32"), ("graph", "float32"), ("eager", "bfloat16"), *others]


def compute(device: str, way: Way) -> Compute:
    """How steps run that way."""
    executor, precision = way
    return Compute(device, precision, executor.startswith("graph"), STREAMS[executor])


def train(world: World, flat: FlatModel, way: Way, attack: Attack | None = None, round_: int = 1) -> ClientUpdates:
    """Local training of all clients from the global model ``flat``."""
    federation = replace(world.federation, executor=world.executor(compute(world.device, way)))
    return federation.train(flat, round_, world.everybody, attack)
