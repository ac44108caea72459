"""What people should know of what they gave, or of their machine, though it stops nothing: said once in a process."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

_said: set[str] = set()
_shown: list[Callable[[str], None]] = []


def notice(text: str) -> None:
    """Say ``text`` where :func:`shown_by` has it shown, else as a Python warning; only the first time."""
    if text in _said:
        return
    _said.add(text)
    if _shown:
        _shown[-1](text)
    else:
        warnings.warn(text, stacklevel=3)


@contextlib.contextmanager
def shown_by(show: Callable[[str], None]) -> Iterator[None]:
    """Hand notices that are given inside to ``show``; what was said before is news to it."""
    before = set(_said)
    _said.clear()
    _shown.append(show)
    try:
        yield
    finally:
        _shown.pop()
        _said.update(before)


@contextlib.contextmanager
def unsaid() -> Iterator[None]:
    """Notices that are given inside are not shown, and count as not given."""
    before = set(_said)
    _shown.append(lambda text: None)
    try:
        yield
    finally:
        _shown.pop()
        _said.clear()
        _said.update(before)
