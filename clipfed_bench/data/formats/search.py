"""What a search under the data folder works with and yields, and a form that files may have."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from clipfed_bench.core.errors import shown
from clipfed_bench.core.splits import Split
from clipfed_bench.data.catalog import originals
from clipfed_bench.data.info import Info

_DEPTH = 7
"""Folder levels below the data folder that are searched."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm"})


class Copy(Protocol):
    """Something that files hold."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""


T = TypeVar("T", bound=Copy)


@dataclass(frozen=True)
class Found:
    """A complete copy of a data set."""

    kind: str
    """``parquet``, ``arrow``, ``official archive``, ``class folders`` and so on."""
    where: Path
    files: tuple[Path, ...]
    read: Callable[[str], Split]
    """Decodes ``train`` or ``test``."""


@dataclass(frozen=True)
class Form:
    """One way in which the files of a data set may lie in the data folder."""

    find: Callable[[Search], list[Found]]
    """Complete copies, as far as can be told without decoding images."""
    wanted: Callable[[Info], str]
    """What is looked for, for the message when nothing is found."""
    spare: bool = False
    """Taken where no other form before it is complete and whole."""
    published: Callable[[Info], Any] | None = None
    """Where it is downloaded from (:class:`clipfed_bench.data.formats.official.Official`), if it can be."""


@dataclass
class Search:
    """A search for one data set. Sources note what they saw, for the message when nothing fits."""

    root: Path
    known: Info
    files: tuple[Path, ...]
    seen: list[str] = field(default_factory=list)
    """Things that are of another kind, e.g. a generated data set."""
    broken: list[str] = field(default_factory=list)
    """Things that are this data set but damaged or incomplete."""


def walk(root: Path, seen: list[str] | None = None) -> tuple[Path, ...]:
    """All files below ``root``, sorted, to a fixed depth; hidden names are left out.

    Links to files and folders are followed; a folder that several lead to is searched once, under the first name. Links
    to ``root``, or to a folder that it is in, lead in a circle; they are left out, and noted in ``seen``.
    """
    files = []
    base, above = len(root.parts), {_identity(folder) for folder in (root, *Path(os.path.realpath(root)).parents)}
    known = {_identity(root)}
    for folder, folders, names in os.walk(root, followlinks=True):
        path = Path(folder)
        below = [] if len(path.parts) - base >= _DEPTH else sorted(f for f in folders if not f.startswith("."))
        folders.clear()
        for name in below:
            identity = _identity(path / name)
            if identity in above:
                if seen is not None:
                    seen.append(f"{shown(path / name)}: a link that leads in a circle")
            elif identity not in known:
                folders.append(name)
            known.add(identity)
        files += [path / name for name in sorted(names) if not name.startswith(".") and not _blocks(path / name)]
    return tuple(files)


def distinct(copies: Sequence[T]) -> list[T]:
    """``copies`` without those whose files are links to those of another, as in the hub's cache."""
    return list({frozenset(map(os.path.realpath, copy.files)): copy for copy in reversed(copies)}.values())[::-1]


def other_set(known: Info, train: int | None, test: int | None) -> str | None:
    """The data set with other numbers of images than ``known`` of which these are the numbers, if there is one."""
    wanted = known.rows("train"), known.rows("test")
    sizes = {(other.rows("train"), other.rows("test")): name for name, other in originals().items() if other.stored}
    return sizes.get((train or 0, test or 0)) if (train, test) != wanted else None


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _blocks(path: Path) -> bool:
    """Whether it is a pipe, socket or device: opening one may wait for ever. A dead link is said where it is read."""
    return os.path.exists(path) and not os.path.isfile(path)
