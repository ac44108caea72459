"""What a search under the data folder works with and yields; each source module has a ``find(search)``."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clipfed_bench.core.splits import Split
from clipfed_bench.data.info import Info

_DEPTH = 5
"""Folder levels below the data folder that are searched."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


@dataclass(frozen=True)
class Found:
    """A complete copy of a data set."""

    kind: str
    """``parquet``, ``official archive``, ``official batches`` or ``class folders``."""
    where: Path
    files: tuple[Path, ...]
    read: Callable[[str], Split]
    """Decodes ``train`` or ``test``."""


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


def walk(root: Path) -> tuple[Path, ...]:
    """All files below ``root``, sorted, to a fixed depth; hidden names are left out."""
    files = []
    base = len(root.parts)
    for folder, folders, names in os.walk(root):
        path = Path(folder)
        folders[:] = [] if len(path.parts) - base >= _DEPTH else sorted(f for f in folders if not f.startswith("."))
        files += [path / name for name in sorted(names) if not name.startswith(".") and not _blocks(path / name)]
    return tuple(files)


def _blocks(path: Path) -> bool:
    """Whether it is a pipe, socket or device: opening one may wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # a dead link is a damaged file, which is said where it is read
    return not stat.S_ISREG(mode)
