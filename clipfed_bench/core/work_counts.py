"""How often each kind of shared work was computed, so that anyone can see that nothing is computed twice.

A process counts for itself. What it has counted travels with the progress of its jobs to whoever gave them out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Literal, ParamSpec, TypeVar, get_args

Kind = Literal[
    "data set",
    "partition",
    "server set",
    "teacher",
    "feature set",
    "augmented set",
    "recorded step",
    "warm-up",
    "prefix",
    "cell",
    "round",
]
"""Data sets and server sets that were read, partitions drawn, teachers trained, sets of images that a teacher made
features of, server sets made ready for CLIP-Fed, CUDA graphs captured; what was played to its end, and its rounds."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_since: Counter[str] = Counter()


def count(kind: Kind) -> None:
    """One more of ``kind`` was computed."""
    _since[kind] += 1


def counted(kind: Kind) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Makes a function count its calls that return."""

    def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            result = function(*args, **kwargs)
            count(kind)
            return result

        return call

    return decorate


def take() -> dict[str, int]:
    """What this process has computed since this was last asked: kind -> how many."""
    found = dict(_since)
    _since.clear()
    return found


def in_words(computed: Mapping[str, int]) -> str:
    """``1 data set, 4 partitions, 12 cells``."""
    return ", ".join(plural(computed[kind], kind) for kind in get_args(Kind) if computed.get(kind))


def plural(number: int, name: str) -> str:
    """``1 cell``, ``2 prefixes``, ``2 values of alpha``."""
    what, of, rest = name.partition(" of ")
    ending = "" if number == 1 else "es" if what.endswith("x") else "s"
    return f"{number:,} {what}{ending}{of}{rest}"
