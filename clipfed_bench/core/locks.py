"""Locks between processes, which end with the process however that dies; and file systems that have none."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clipfed_bench.core.notices import notice

_NONE = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK})
"""What file systems answer that know no locks, or whose server gives none: "not supported", "no locks available"."""

_TEXT = (
    "a file system that is used here has no locks, so that nothing keeps two processes from the same work or the same "
    "run folder; start one at a time."
)


class BusyError(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(path: Path, wait: bool = True, make: Callable[..., Any] | None = None) -> Iterator[None]:
    """Hold the lock file ``path``, in a folder that exists.

    A file system without locks is used without, with a notice, once in a process. ``make`` makes a lock of a path and a
    timeout (default: filelock's). Raises BusyError unless it is to ``wait``; OSError where the file cannot be made.
    """
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as stack:
        try:
            # Its own substitute, a file that is there while the lock is held, would outlive a killed process.
            stack.enter_context((make or FileLock)(path, timeout=-1 if wait else 0, fallback_to_soft=False))
        except Timeout:
            raise BusyError from None
        except OSError as error:
            if error.errno not in _NONE:
                raise
            notice(_TEXT)
        yield
