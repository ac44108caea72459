"""How the C library of this process hands out memory: what is freed is kept for the next allocation.

By default glibc gives blocks above some size back to the system when they are freed. A training step frees its
activations and asks for as many again, so that the system has to find and clear the same pages in each step: measured
on two cores, 2,400 page faults a step of the small CNN, a fifth to a quarter of its time. Between jobs it is returned.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import Any

# malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3

KEPT = 2**31 - 1
"""Bytes at the end of the heap that may lie idle before they are given back; the largest that mallopt takes."""

LARGE = (2**28, 2**25)
"""Blocks of so many bytes and more are the system's, as before; the first value that the library accepts."""


def return_freed_memory() -> None:
    """Give the system what is freed by now, where the C library can: what is resident is then what is in use."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory(library: Callable[[], Any] = lambda: ctypes.CDLL(None)) -> bool:
    """Keep freed memory from now on, for all threads; whether this C library can (glibc can, macOS's and musl cannot).

    The process keeps what it once needed, up to :data:`KEPT`. No number depends on it.
    """
    try:
        mallopt = library().mallopt
    except (AttributeError, OSError, TypeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    taken = any(mallopt(_MMAP_THRESHOLD, size) for size in LARGE)
    return bool(taken and mallopt(_TRIM_THRESHOLD, KEPT) and mallopt(_TOP_PAD, 2**24))
