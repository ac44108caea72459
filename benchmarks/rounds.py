"""A whole round, part by part: the same calls in the same order as in a cell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from benchmarks import ours
from benchmarks.ceilings import Ceilings, Load, Work
from benchmarks.scale import Scale
from benchmarks.timing import Clock, Spread, spread
from benchmarks.world import World, round_world
from clipfed_bench.api import RoundContext
from clipfed_bench.simulator.aggregation import aggregate_updates, detection
from clipfed_bench.simulator.evaluate import evaluate, make_test_sets

DEFENSES = ("fedavg", "flame", "clip-fed")
PARTS = ("local", "attack", "defense", "purify", "evaluate", "other")
"""``other``: what is left of the round, such as adding the update to the model."""


@dataclass(frozen=True)
class Round:
    """Rounds with one defense; BadNets attacks."""

    model: str
    defense: str
    executor: str
    precision: str
    clients: int
    client_images: int
    epochs: int
    test_images: int
    """Clean and triggered ones."""
    server_images: int
    """0 where the defense has none."""
    seconds: dict[str, Spread]
    """Part -> seconds of it in a round with an evaluation."""
    floor: dict[str, float]
    """Part -> the least it takes: local training, evaluation, and a mean of the updates for the defense."""
    outside_share: Spread
    """Share of a round that is neither local training nor evaluation, both of them and purification left out of the
    whole but local training: outside / (outside + local)."""

    @property
    def trained_images(self) -> int:
        """Images that local training goes through, poisoned copies not counted."""
        return self.clients * self.client_images * self.epochs


def measure_rounds(model: str, device: str, scale: Scale, ceilings: Ceilings, work: Work) -> Iterator[Round]:
    """Each of :data:`DEFENSES` with what a cell takes by default."""
    world = round_world(model, device, scale)
    executor, precision = way = ours.default(device, model)
    compute = ours.compute(device, way)
    server = world.server(scale.server_images, compute)
    sets = make_test_sets(world.data.test, world.attack(), world.federation.normalize)
    tests = len(sets.clean) + len(sets.triggered)
    floor = {
        "local": ceilings.seconds(_local(world, work), precision),
        "evaluate": ceilings.seconds(work.evaluation(tests), precision),
        "defense": ceilings.seconds(work.aggregation(scale.clients)),
    }
    for name in DEFENSES:
        attack, defense, flat = world.attack(), world.defense(name, server), world.model(compute.kernels)
        clock = Clock(device)
        taken: list[dict[str, float]] = []
        for number in range(scale.rounds + 1):
            parts, context = dict.fromkeys(PARTS, 0.0), RoundContext(number + 1)
            times = [clock()]
            start = flat.params.clone()
            times.append(clock())
            updates = ours.train(world, flat, way, attack, number + 1)
            times.append(clock())
            world.federation.craft(updates, flat, number + 1, attack)
            times.append(clock())
            result, judged = aggregate_updates(defense, updates, context)
            flat.params += result.delta
            flat.buffers.copy_(result.buffers)
            times.append(clock())
            defense.purify(flat.model, context)
            times.append(clock())
            previous_update = flat.params - start
            detection(result.kept, judged, world.federation.malicious)
            times.append(clock())
            with compute.autocast():
                evaluate(flat.model, sets)
            times.append(clock())
            assert previous_update.shape == start.shape
            names = ("other", "local", "attack", "defense", "purify", "other", "evaluate")
            for part, begin, end in zip(names, times[:-1], times[1:], strict=True):
                parts[part] += end - begin
            taken.append(parts)
        measured = taken[1:]
        yield Round(
            model,
            name,
            executor,
            precision,
            scale.clients,
            scale.client_images,
            scale.epochs,
            tests,
            scale.server_images if defense.needs_server_data else 0,
            {part: spread([parts[part] for parts in measured]) for part in PARTS},
            floor,
            spread([outside_share(parts) for parts in measured]),
        )


def outside_share(parts: dict[str, float]) -> float:
    """(attack + defense + other) / (attack + defense + other + local); nan where nothing took any time."""
    outside = parts["attack"] + parts["defense"] + parts["other"]
    whole = outside + parts["local"]
    return outside / whole if whole > 0 else math.nan


def _local(world: World, work: Work) -> Load:
    """The steps of all clients; malicious ones train on a poisoned copy of each batch as well."""
    hyper, total = world.federation.hyper, work.step(0).times(0)
    for client, data in enumerate(world.federation.clients):
        steps = ceil(len(data) / hyper.batch_size)
        images = len(data) / steps * (2 if client in world.federation.malicious else 1)
        total += work.step(images).times(steps * hyper.epochs)
    return total
