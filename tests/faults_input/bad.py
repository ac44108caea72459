"""Runs a command in this process and checks that it is refused as a user's mistake has to be."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipfed_bench.cli.main import main
from clipfed_bench.core.errors import UserError

_FRAME = re.compile(r"[╭╮╰╯─│]")
_MESSAGE = re.compile(r"^(?:Error: |╭─ Error ─)", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One line of a table: ``id``, what is given, what the message has to contain."""

    id: str
    given: str | bytes | tuple[str, ...]
    words: tuple[str, ...]


def cases(*table: tuple[str, str | bytes | tuple[str, ...], tuple[str, ...]]) -> pytest.MarkDecorator:
    """The parametrization of a test with ``case``, one for each line of ``table``."""
    lines = [Case(*line) for line in table]
    assert len({line.id for line in lines}) == len(lines)
    return pytest.mark.parametrize("case", lines, ids=[line.id for line in lines])


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: object
    out: str
    err: str


def run(*arguments: str) -> Outcome:
    """``clipfed-bench`` with ``arguments``, in this process. An exception but for an exit is the test's failure."""
    out, err, before, code = io.StringIO(), io.StringIO(), sys.argv, None
    sys.argv = ["clipfed-bench", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            main()
    except SystemExit as exit:
        code = exit.code
    finally:
        sys.argv = before
    return Outcome(code, out.getvalue(), err.getvalue())


def files(folder: Path) -> dict[str, object]:
    """Everything below ``folder``: its kind, and its content or where it leads to.

    Arrays of images that were decoded, and digests of sources, are left out: they are kept for the next time, and say
    nothing of the command.
    """
    found: dict[str, object] = {}
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if (Path(root).name, name) != ("cache", "arrays")]
        for name in [*folders, *(name for name in names if not name.startswith("sources-"))]:
            path = Path(root, name)
            mode = path.lstat().st_mode
            content: object = path.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
            found[str(path.relative_to(folder))] = os.readlink(path) if stat.S_ISLNK(mode) else content
    return found


def refused(arguments: tuple[str, ...], words: tuple[str, ...], place: Path) -> str:
    """Exit status 2, one message with all of ``words``, nothing else on any stream, and ``place`` as it was."""
    before = files(place.parent)
    done = run(*arguments)
    message = " ".join(_FRAME.sub(" ", done.err).split())
    assert done.code == 2, done
    assert done.out == ""
    assert message.startswith(("Error: ", "Usage: ", "Error ")), message
    assert len(_MESSAGE.findall(done.err)) == 1, message
    assert "Traceback" not in message
    assert "Warning" not in message
    assert len(message) < 3000
    assert all(char.isprintable() for char in message)
    for word in words:
        assert word in message, message
    after = files(place.parent)
    assert sorted(after) == sorted(before), sorted(after.keys() ^ before.keys())
    assert after == before
    return message


@contextlib.contextmanager
def only_user_errors() -> Iterator[None]:
    """Whatever happens inside is fine, but for other exceptions and for messages that a terminal would obey."""
    message = "none"
    try:
        yield
    except UserError as error:
        message = str(error).replace("\n", " ")
    assert message
    assert message.isprintable()
