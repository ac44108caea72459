"""Errors that a user can act on. The CLI prints their text and exits with status 2, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class UserError(Exception):
    """Something the user asked for cannot be done. The message says what was wrong and what is right."""


class DataError(UserError):
    """A data set is absent, broken or not what it should be."""


class AbsentError(DataError):
    """Nothing is there that could be what is looked for."""


class TeacherError(UserError):
    """The teacher cannot be loaded; it is never replaced silently."""


class DamagedFileError(ValueError):
    """A file cannot be read, or cannot be what it is taken for. The message is the reason alone."""


def shown(value: object, most: int = 100) -> str:
    """``value`` for a message: at most ``most`` characters, none of which a terminal would obey."""
    try:
        text = str(value)
    except ValueError:  # Python writes no whole number of more than some thousand digits
        text = "a number of thousands of digits"
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)


def printable(text: str) -> str:
    """``text`` with a replacement character for each that has no shape, such as a control character."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def unknown(kind: str, name: str, known: Iterable[str], broken: Mapping[str, str] | None = None) -> UserError:
    """The error for a name that is not known, with the nearest known one.

    ``broken``: name of a plug-in, or of what it defines -> why it cannot be used, which may be why it is not known.
    """
    if broken and name in broken:
        return UserError(broken[name])
    names = sorted(known)
    text = f"unknown {kind} '{shown(name)}'.{nearest(name, names)} Known: {', '.join(names)}."
    return UserError(" ".join([text, *(broken or {}).values()]))


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """A question, with a space before it, for the known name that is most like ``name``; empty if none is."""
    near = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=cutoff)
    return f" Did you mean '{near[0]}'?" if near else ""
