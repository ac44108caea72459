"""A limit on how long something may take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SHORTEST = 1e-3
"""Seconds to the next look, at least: a timer of nearly nothing is none."""
AGAIN = 0.5
"""Seconds until it is raised again, should something between have caught it."""


class TooLongError(Exception):
    """It took longer than it may."""


@contextmanager
def at_most(seconds: float, cpu: bool) -> Iterator[None]:
    """Raise TooLongError in the ``with`` block after ``seconds`` (> 0), once the current operation is done.

    They are seconds of CPU time with ``cpu``, as busy machines need, else on the wall.
    Without a signal to be had (outside the main thread, or on Windows) there is no limit.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    clock = time.process_time if cpu else time.monotonic
    begin, running = clock(), True

    def look(number: int, frame: FrameType | None) -> None:
        if not running:
            return
        left = seconds - (clock() - begin)
        signal.setitimer(signal.ITIMER_REAL, max(left, SHORTEST) if left > 0 else AGAIN)
        if left <= 0:
            raise TooLongError

    # Not a timer of CPU time: while Linux has one, the process's clock of CPU time moves in steps of milliseconds.
    before = signal.signal(signal.SIGALRM, look)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, SHORTEST))
        yield
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
