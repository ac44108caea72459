"""Several processes at once, as a grid runs its cells: each trains for itself; what counts is what they do together.

The processes live through all repetitions, and one number of them after the other gets to work, so that numbers are
compared within one run.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.scale import Scale
from benchmarks.timing import Spread, ratios, spread
from clipfed_bench.execution.allocator import keep_freed_memory
from clipfed_bench.execution.worker import THREADS


@dataclass(frozen=True)
class Scaling:
    """Training in ``processes`` at once."""

    model: str
    processes: int
    images_per_second: Spread
    """Of all together, by the clock on the wall."""
    images_per_cpu_second: Spread
    """Mean of the processes: it falls where they get into each other's way in caches and memory, and not where other
    programs take the processor."""
    times_one: Spread
    """Images a second over those of one process in the same repetition."""


def measure_scaling(model: str, device: str, scale: Scale, most: int) -> list[Scaling]:
    """One process, two, and so on up to ``most``; on a GPU they share it."""
    context = multiprocessing.get_context("spawn")
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(THREADS)
    links: list[Connection] = []
    processes = []
    try:
        for _ in range(most):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, model, device, scale), daemon=True)
            process.start()
            theirs.close()
            links.append(ours)
            processes.append(process)
        for link in links:
            link.recv()  # it is ready
        return compare(model, links, scale)
    finally:
        for link in links:
            link.close()
        for process in processes:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def compare(model: str, links: Sequence[Connection], scale: Scale) -> list[Scaling]:
    """The first of ``links``, the first two, and so on: each is sent "work" and answers with its CPU seconds."""
    numbers = range(1, len(links) + 1)
    images = scale.scaling_images
    wall: dict[int, list[float]] = {count: [] for count in numbers}
    cpu: dict[int, list[float]] = {count: [] for count in numbers}
    for repetition in range(scale.scaling_repetitions + 1):
        for count in numbers:
            begin = time.perf_counter()
            for link in links[:count]:
                link.send("work")
            used = [link.recv() for link in links[:count]]
            if repetition == 0:
                continue  # the later processes have been idle since they warmed up
            # Seconds for as many images as one process trains, so that ratios of numbers are ratios of times.
            wall[count].append((time.perf_counter() - begin) / count)
            cpu[count].append(sum(used) / count)
    return [
        Scaling(
            model,
            count,
            spread([images / t for t in wall[count]]),
            spread([images / t for t in cpu[count]]),
            ratios(wall[count], wall[1]),
        )
        for count in numbers
    ]


def best_number(measured: Sequence[Scaling]) -> int:
    """The number of processes that train the most; the smaller one where two differ by less than 2 %."""
    most = max(entry.images_per_second.median for entry in measured)
    return min(entry.processes for entry in measured if entry.images_per_second.median >= 0.98 * most)


def _work(link: Connection, model: str, device: str, scale: Scale) -> None:
    """A process: train when told to, and answer with the CPU seconds that it took; end when the parent does."""
    import torch

    from benchmarks import ours
    from benchmarks.world import make_world

    torch.set_num_threads(1)
    keep_freed_memory()
    clients = min(scale.step_clients, scale.scaling_images)
    sizes = clients, scale.scaling_images // clients, scale.batch_sizes[0], 1, 1
    world = make_world(model, device, *sizes, scale.dataset)
    way, flat = ours.default(device, model), world.model()

    def train() -> float:
        begin = time.process_time()
        ours.train(world, flat, way)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.process_time() - begin

    train()
    link.send("ready")
    while True:
        try:
            link.recv()
        except (EOFError, OSError):
            return
        link.send(train())
