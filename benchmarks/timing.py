"""Timing on machines that are never quite quiet: contestants take turns, and medians are compared.

On a CPU the clock is the CPU time of the process: a cell has one thread, so on an idle machine that is the time on the
wall, and on a busy one the others' share is not counted. On a GPU it is the time on the wall, with all work done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """Repetitions of one figure."""

    median: float
    low: float
    """The smallest."""
    high: float
    """The largest."""

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def spread(values: Sequence[float]) -> Spread:
    """Median, smallest and largest of ``values``, of which there is at least one."""
    return Spread(median(values), min(values), max(values))


def ratios(times: Sequence[float], others: Sequence[float]) -> Spread:
    """How many times as fast as the other each repetition was: ``others[i] / times[i]``, measured side by side."""
    return spread([other / own for own, other in zip(times, others, strict=True)])


class Clock:
    """Seconds, of which only differences mean something."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self.name = "wall, work on the GPU done" if self._cuda else "CPU time of the process"

    def __call__(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def seconds(self, work: Callable[[], object]) -> float:
        """What ``work`` takes."""
        begin = self()
        work()
        return self() - begin


def take_turns(
    contestants: Mapping[Name, Callable[[], object]], repetitions: int, clock: Clock, warm_up: int = 1
) -> dict[Name, list[float]]:
    """Seconds of each contestant in each repetition, after ``warm_up`` uncounted ones; each leads off in turn."""
    names = list(contestants)
    for work in contestants.values():
        for _ in range(warm_up):
            work()
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    for repetition in range(repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(clock.seconds(contestants[name]))
    return seconds
