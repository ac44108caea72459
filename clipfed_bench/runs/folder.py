"""A run folder in use: by one grid at a time, and rid of what killed processes have left in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.locks import BusyError, locked

# What write_atomically, and a Ray cluster's search for shared folders, have under way.
_PARTS = re.compile(r"\..+\.[0-9a-f]{32}\.tmp|\.seen-[0-9a-f]{32}")

RUNS = Path("results/runs")
"""Where run folders are, if the user does not say."""

SHARED = "warmups"
"""The folder in a run folder that other runs may write to; there, only files older than a minute are left-overs."""


@contextlib.contextmanager
def held(folder: Path, command: str) -> Iterator[None]:
    """Hold ``folder``, which exists, for this process alone, which was started by ``command``.

    The lock is the system's and ends with the process, however that dies. Raises UserError that names the holder, and
    where the folder cannot be written. A file system without locks is used without (:func:`.locks.locked`).
    """
    holder = folder / ".holder.json"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", wait=False))
        except BusyError:
            raise UserError(
                f"{folder} is in use by {_describe(holder)}. Wait until that is done, or name another folder with "
                "--out."
            ) from None
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error
        stack.callback(_remove, holder)
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now(), "command": command}
        write_atomically(holder, json.dumps(me).encode())
        yield


def clean(folder: Path, done: Iterable[str]) -> None:
    """Remove half-written files, and checkpoints of what is ``done`` (keys of cells) or stored. Only for who holds it.

    What cannot be removed stays.
    """
    old = time.time() - 60
    for path in folder.rglob(".*"):
        with contextlib.suppress(OSError):
            if _PARTS.fullmatch(path.name) and (path.parent.name != SHARED or path.stat().st_mtime < old):
                path.unlink()
    drop_checkpoints(folder, done)
    drop_checkpoints(folder, (f"warmup-{path.stem}" for path in (folder / SHARED).glob("*.safetensors")))


def checkpoints(folder: Path) -> Path:
    """Where checkpoints of unfinished work are."""
    return folder / "checkpoints"


def models(folder: Path) -> Path:
    """Where final models are that are kept."""
    return folder / "models"


def prefixes(folder: Path) -> Path:
    """Where rounds before the attack are kept while cells need them."""
    return folder / "prefixes"


def drop_prefixes(folder: Path, keys: Iterable[str]) -> None:
    """Remove the prefixes called ``keys``, which no cell needs any more, and their folder if it is empty then."""
    _drop(prefixes(folder), keys)


def drop_checkpoints(folder: Path, names: Iterable[str]) -> None:
    """Remove the checkpoints called ``names``, keys of cells that are stored, and their folder if it is empty then."""
    _drop(checkpoints(folder), names)


def _drop(folder: Path, names: Iterable[str]) -> None:
    with contextlib.suppress(OSError):
        for name in names:
            (folder / f"{name}.safetensors").unlink(missing_ok=True)
        folder.rmdir()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _describe(holder: Path) -> str:
    try:
        known = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {known['pid']} on {known['host']} since {known['since']} ({known['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun or ended
        return "another process"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
