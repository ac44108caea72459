"""A limit on how long something may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    timer, name = (signal.ITIMER_PROF, signal.SIGPROF) if cpu else (signal.ITIMER_REAL, signal.SIGALRM)
    before = signal.signal(name, stop)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(name, before)
