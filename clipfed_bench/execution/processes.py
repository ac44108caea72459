"""New processes of the pool: forked where that is right, else spawned. Ctrl-C is not theirs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from clipfed_bench.execution.nursery import Nursery
from clipfed_bench.execution.worker import THREADS

Serve = Callable[..., None]

_kept: list[Nursery] = []
"""The nursery of this process, if it has one: later grids start from it as well."""

_unfit: set[frozenset[str]] = set()
"""Modules of which a nursery has died, or started threads: those who need them are spawned."""


def start(serve: Serve, connection: Connection[Any, Any], *more: object, share: Collection[str] = ()) -> Any:
    """A new process that calls ``serve(connection, *more)``: a ``multiprocessing.Process``, or what is like one.

    ``share`` are modules that it may have from a process that imported them before; none: it imports its own.
    """
    if share and frozenset(share) not in _unfit and sys.platform == "linux" and _has_pidfds():
        try:
            return _nursery(share).fork(serve, connection, *more)
        except (EOFError, OSError):
            _unfit.add(frozenset(share))
    return _spawn(serve, connection, *more)


def _has_pidfds() -> bool:
    """Whether this kernel gives processes as open files, as it does since 5.3."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _nursery(share: Collection[str]) -> Nursery:
    """One that has the modules in ``share``, and is what a new one would be."""
    if _kept and not _kept[0].will_do(share):
        _kept.pop().end()
    if not _kept:
        _kept.append(Nursery(share, THREADS, _spawn))
    return _kept[0]


def _spawn(serve: Serve, *arguments: object) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
    with _interrupts_held(), _main_hidden():
        process.start()
    return process


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C is the parent's to deal with: children inherit the blocked signal, also while they are starting."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would unblock the signal if it were started below
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """A new process would import the main module, which may be a script that asks for this grid as soon as it is."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
