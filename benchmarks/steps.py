"""Training steps: milliseconds and images a second by executor, precision and batch size, next to the yardsticks.

What is timed is local training of a few clients as a round does it, the yardsticks' being the same clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil

from benchmarks import ours
from benchmarks.ceilings import Ceilings, Work
from benchmarks.scale import Scale
from benchmarks.timing import Clock, Spread, ratios, spread, take_turns
from benchmarks.world import World, make_world
from benchmarks.yardsticks import plain_loop, usual_loop

PLAIN, USUAL = "plain loop", "usual loop"


@dataclass(frozen=True)
class Step:
    """One contestant at one batch size."""

    model: str
    who: str
    """``eager`` or another executor of the simulator, or a yardstick."""
    precision: str
    batch_size: int
    step_ms: Spread
    images_per_second: Spread
    floor_ms: float
    ratio_plain_loop: Spread | None
    """Images a second over those of the plain loop in the same precision; None for yardsticks."""
    ratio_usual_loop: Spread | None

    @property
    def times_floor(self) -> float:
        """How many times the floor a step takes."""
        return self.step_ms.median / self.floor_ms


def measure_steps(model: str, device: str, scale: Scale, ceilings: Ceilings, work: Work) -> Iterator[Step]:
    """Every way of the simulator and both yardsticks, at each batch size."""
    for batch_size in scale.batch_sizes:
        images = max(1, scale.images // scale.step_clients)
        world = make_world(model, device, scale.step_clients, images, batch_size, 1, 1, scale.dataset)
        yield from _measure(model, batch_size, world, scale.repetitions, ceilings, work)


def _measure(
    model: str, batch_size: int, world: World, repetitions: int, ceilings: Ceilings, work: Work
) -> Iterator[Step]:
    ways = ours.ways(world.device, model, ceilings)
    flat = world.model()
    contestants: dict[tuple[str, str], Callable[[], object]] = {}
    for way in ways:
        contestants[way] = partial(ours.train, world, flat, way)
    for precision in dict.fromkeys(precision for _, precision in ways):
        contestants[PLAIN, precision] = plain_loop(world, precision)
    contestants[USUAL, "float32"] = usual_loop(world)
    seconds = take_turns(contestants, repetitions, Clock(world.device))
    share = len(world.federation.clients[0])
    clients = len(world.federation.clients)
    steps, images = clients * ceil(share / batch_size), clients * share
    for (who, precision), times in seconds.items():
        compared = (who, precision) in ways
        yield Step(
            model,
            who,
            precision,
            min(batch_size, share),
            spread([1e3 * t / steps for t in times]),
            spread([images / t for t in times]),
            1e3 * ceilings.seconds(work.step(images / steps), precision),
            ratios(times, seconds[PLAIN, precision]) if compared else None,
            ratios(times, seconds[USUAL, "float32"]) if compared else None,
        )
