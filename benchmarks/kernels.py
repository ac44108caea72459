"""Compiled kernels next to torch's operators: the same rounds with both, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import ours
from benchmarks.scale import Scale
from benchmarks.timing import Clock, Spread, ratios, spread, take_turns
from benchmarks.world import World, make_world
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.evaluate import TestSets, evaluate, make_test_sets

BATCH_SIZES = (64, 32, 16)
REPETITIONS = 5


@dataclass(frozen=True)
class Comparison:
    """Rounds at one batch size. Ratios are how many times as fast the compiled kernels are."""

    model: str
    batch_size: int
    seconds: dict[str, Spread]
    """Part -> seconds with compiled kernels: local training, evaluation, and both."""
    ratio: dict[str, Spread]


def measure_kernels(model: str, device: str, scale: Scale) -> Iterator[Comparison]:
    """Local training of a round's clients, and an evaluation; nothing where there are no such kernels."""
    compiled, plain = ours.default(device, model), ("eager", "float32")
    if compiled[0] != "numba":
        return
    clock = Clock(device)
    for batch_size in BATCH_SIZES:
        sizes = scale.clients, scale.client_images, batch_size, scale.epochs, scale.test_images
        world = make_world(model, device, *sizes, scale.dataset)
        sets = make_test_sets(world.data.test, world.attack(), world.federation.normalize)
        seconds: dict[str, dict[str, list[float]]] = {}
        for part in ("local", "evaluate"):
            work = {way[0]: partial(_part, part, world, way, sets) for way in (compiled, plain)}
            seconds[part] = take_turns(work, REPETITIONS, clock)
        whole = {who: [a + b for a, b in zip(*(s[who] for s in seconds.values()), strict=True)] for who in work}
        seconds["both"] = whole
        mine = {part: spread(found[compiled[0]]) for part, found in seconds.items()}
        ratio = {part: ratios(found[compiled[0]], found[plain[0]]) for part, found in seconds.items()}
        yield Comparison(model, batch_size, mine, ratio)


def _part(part: str, world: World, way: ours.Way, sets: TestSets) -> None:
    flat: FlatModel = world.model(ours.compute(world.device, way).kernels)
    if part == "local":
        ours.train(world, flat, way)
    else:
        evaluate(flat.model, sets)
