"""Processes that are forked from one that has the simulator loaded: a worker starts in milliseconds, not in seconds.

Importing torch takes each process 2 s, and open_clip 2 s more. The nursery is spawned, imports them once, and forks a
child whenever it is asked; children share the memory of what it has loaded. It ends where it would not be safe to fork:
where an import has started a thread. It never looks for a GPU. Linux only.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from clipfed_bench.core.sources import closure, current, digest, lines

LATE: tuple[str, ...] = ("CLIPFED_BENCH_", "COLUMNS")
"""Names of variables that nothing reads while it is imported begin like this: they may differ between children."""

Serve = Callable[..., None]


class Nursery:
    """A process that has ``modules`` imported, with ``threads`` in its environment before that."""

    def __init__(self, modules: Collection[str], threads: Mapping[str, str], start: Callable[..., Any]) -> None:
        """``start(function, *arguments)`` is to start a new process that calls the function, and give it back."""
        self.modules, self._state, self._owner = frozenset(modules), _state(modules), os.getpid()
        self._lock = threading.Lock()
        self._control, theirs = Pipe()
        self._process = start(_tend, theirs, sorted(modules), dict(threads))
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the nursery itself."""
        pid: int = self._process.pid
        return pid

    def will_do(self, modules: Collection[str]) -> bool:
        """Whether it is what a new one for ``modules`` would be, but for more modules."""
        alike = self.modules.issuperset(modules) and self._state == _state(self.modules)
        return alike and self._owner == os.getpid() and not self._control.closed and self._process.is_alive()

    def fork(self, serve: Serve, connection: Connection[Any, Any], *more: object) -> Forked:
        """A child that calls ``serve(connection, *more)``, with the environment and in the folder of this process.

        Raises EOFError or OSError where the nursery has ended.
        """
        ways = (serve, more, dict(os.environ), list(sys.argv), os.getcwd())
        return Forked(self.ask(("fork", *ways), connection.fileno()), self)

    def ask(self, message: tuple[object, ...], handle: int | None = None) -> int:
        """What it answers to ``message``, and to the open file ``handle`` if there is one."""
        try:
            with self._lock:
                self._control.send(message)
                if handle is not None:
                    send_handle(self._control, handle, self.pid)
                answer: int = self._control.recv()
                return answer
        except BaseException:  # an answer that is still to come would be taken for another's
            self.end()
            raise

    def end(self) -> None:
        """End it; its children live on. In a copy of the process that started it this only forgets it."""
        self._control.close()
        if self._owner == os.getpid():
            self._process.terminate()
            self._process.join()


class Forked:
    """A child of a nursery, with what is used here of a ``multiprocessing.Process``."""

    def __init__(self, pid: int, nursery: Nursery) -> None:
        self.pid, self._nursery = pid, nursery
        self._end = os.pidfd_open(pid)  # nobody else gets the pid before the nursery was asked how this one ended
        weakref.finalize(self, os.close, self._end)
        self._code: int | None = None

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return not wait([self._end], 0)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, for at most ``timeout`` seconds."""
        if wait([self._end], timeout):
            _ = self.exitcode

    @property
    def exitcode(self) -> int | None:
        """As of a Process: -N if signal N ended it, None while it runs; 255 where its nursery cannot tell any more."""
        if self._code is None and not self.is_alive():
            try:
                self._code = self._nursery.ask(("wait", self.pid))
            except (EOFError, OSError):
                self._code = 255
        return self._code

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._end, number)


def _state(modules: Collection[str]) -> tuple[object, ...]:
    """What has to be as it was: code, where it is looked for, and variables that may be read when it is imported."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(LATE)}
    return digest(lines(closure(modules, current))), tuple(sys.path), variables


def _tend(control: Connection[Any, Any], modules: Collection[str], threads: Mapping[str, str]) -> None:
    """A nursery's life. It ends when its parent does."""
    os.environ.update(threads)
    with _silence(), contextlib.suppress(Exception):  # a child that misses something says so
        for name in modules:
            importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) > 1:  # a thread does not go with a fork, and what it holds stays locked
        os._exit(1)  # at once: Python would wait for the thread
    gc.collect()
    gc.freeze()  # collections do not write to these objects, so children go on sharing them
    with contextlib.suppress(EOFError, OSError, RuntimeError):
        while True:
            kind, *content = control.recv()
            if kind == "wait":
                control.send(os.waitstatus_to_exitcode(os.waitpid(content[0], 0)[1]))
                continue
            handle = recv_handle(control)
            pid = os.fork()
            if pid == 0:
                control.close()
                _live(Connection(handle), *content)
            os.close(handle)
            control.send(pid)


def _live(
    connection: Connection[Any, Any], serve: Serve, more: tuple[object, ...], variables: dict[str, str],
    arguments: list[str], folder: str,
) -> None:  # fmt: skip
    """A child's life. It never returns into the nursery's."""
    code = 1
    try:
        os.environ.clear()
        os.environ.update(variables)
        sys.argv[:] = arguments
        os.chdir(folder)
        serve(connection, *more)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What libraries print when they are imported does not come to the terminal, which the progress display has."""
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for number, copy in enumerate(kept, 1):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
