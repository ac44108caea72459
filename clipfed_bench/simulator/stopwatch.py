"""Where the time of a cell goes, without waiting for a GPU while it works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


class Stopwatch:
    """Sums seconds by part. On a GPU by events in its own order of work, which are read when the sums are asked for."""

    def __init__(self, device: str, parts: tuple[str, ...]) -> None:
        self._cuda = device.startswith("cuda")
        self._sums = dict.fromkeys(parts, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the ``with`` block to ``part``; blocks can be nested."""
        if self._cuda:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            yield
            end.record()
            self._events.append((part, begin, end))
            return
        start = time.perf_counter()
        yield
        self._sums[part] += time.perf_counter() - start

    @property
    def seconds(self) -> dict[str, float]:
        """The sums so far; waits for the GPU."""
        if self._events:
            torch.cuda.synchronize()
        for part, begin, end in self._events:
            self._sums[part] += begin.elapsed_time(end) / 1000
        self._events.clear()
        return dict(self._sums)

    def start_from(self, seconds: Mapping[str, float]) -> None:
        """Go on from sums like those of :attr:`seconds`."""
        self._sums = dict(seconds)
        self._events.clear()

    def reset(self) -> None:
        """Start again from zero."""
        self.start_from(dict.fromkeys(self._sums, 0.0))
