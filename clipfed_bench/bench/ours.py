"""The simulator as a cell uses it, by executor and precision."""

from __future__ import annotations

from clipfed_bench.api import Attack, ClientUpdates
from clipfed_bench.bench.world import World
from clipfed_bench.simulator.params import FlatModel

Way = tuple[str, str]
"""Executor and precision of local training, e.g. ``("eager", "float32")``."""


def ways(device: str) -> list[Way]:
    """All that ``device`` (cpu or cuda) offers; the last is what a cell takes by default."""
    return [("eager", "float32")]


def train(world: World, flat: FlatModel, way: Way, attack: Attack | None = None, round_: int = 1) -> ClientUpdates:
    """Local training of all clients from the model ``flat`` is bound to."""
    assert way in ways(world.device)
    return world.federation.train(flat, round_, world.everybody, attack)
