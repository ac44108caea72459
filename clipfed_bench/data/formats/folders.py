"""Images in one folder per class: ``train/<class>/*.png`` and ``test/<class>/*.png``, or just ``<class>/*.png``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from clipfed_bench.core.errors import DataError
from clipfed_bench.core.splits import Index, Split
from clipfed_bench.data.arrays import as_channels, check_complete, decode_all
from clipfed_bench.data.class_names import class_indices, normalize, overlap
from clipfed_bench.data.formats.search import IMAGE_SUFFIXES, Form, Found, Search, other_set
from clipfed_bench.data.info import Info

ClassFiles = dict[str, list[Path]]
"""Folder name of a class -> its image files."""


def by_class(files: Iterable[Path]) -> dict[Path, ClassFiles]:
    """Image files by the folder that holds their class folders, then by class folder."""
    found: dict[Path, ClassFiles] = {}
    for path in files:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.setdefault(path.parent.parent, {}).setdefault(path.parent.name, []).append(path)
    return found


def find(search: Search) -> list[Found]:
    """Folders with ``train`` and ``test`` in them, both with a folder for every class of the data set."""
    known = search.known
    splits: dict[Path, dict[str, ClassFiles]] = {}
    for folder, content in by_class(search.files).items():
        if max(overlap(tuple(content), names) for names in _spellings(known)) >= 0.5:
            splits.setdefault(folder.parent, {})[folder.name] = content
        else:
            search.seen.append(f"{folder}: image folders of other classes ({', '.join(sorted(content)[:5])} …)")
    fits = []
    for folder, present in splits.items():
        if not {"train", "test"} <= set(present):
            search.seen.append(f"{folder}: class folders, but only {', '.join(sorted(present))} (server data?)")
            continue
        sizes = [sum(map(len, present[split].values())) for split in ("train", "test")]
        if other := other_set(known, *sizes):
            search.seen.append(f"{folder}: class folders of {other}")
            continue
        classes = max(_spellings(known), key=lambda names: overlap(tuple(present["train"]), names))
        named = {split: set(map(normalize, content)) for split, content in present.items()}
        absent = [f"{s}/{c}" for s in ("train", "test") for c in classes if normalize(c) not in named[s]]
        if absent:
            search.broken.append(f"{folder}: no folder for {', '.join(absent)}")
            continue
        try:
            for split in ("train", "test"):
                check_complete(_labels(present[split], classes, str(folder / split)), split, known, str(folder))
        except DataError as error:
            search.broken.append(str(error))
            continue
        files = tuple(path for s in ("train", "test") for paths in present[s].values() for path in paths)
        fits.append(Found("class folders", folder, files, partial(_read_split, present, classes, known, False)))
    return fits


def collected(
    search: Search, where: Path, splits: dict[str, ClassFiles], more: Iterable[Path] = (), resize: bool = False
) -> list[Found]:
    """Images that a data set's own form has sorted into ``splits`` by the aliases of its classes, if all are there.

    ``more`` are files besides that tell so.
    """
    known = search.known
    for split, content in splits.items():
        for name, label, count in zip(known.classes, known.aliases, known.counts(split), strict=True):
            if (there := len(content.get(label, ()))) != count:
                size = sum(map(len, content.values()))
                search.broken.append(
                    f"{where}: {size:,} {split} images and not {known.rows(split):,}; of class {label} ({name}) "
                    f"{there:,} and not {count:,}"
                )
                return []
    files = *more, *(path for content in splits.values() for paths in content.values() for path in paths)
    read = partial(_read_split, splits, known.aliases, known, resize)
    return [Found("class folders", Path(os.path.commonpath([where, *files])), files, read)]


def wanted(known: Info) -> str:
    """What :func:`find` looks for."""
    name = (known.aliases or known.classes)[0]
    return f"class folders: train/{name}/*.png, test/{name}/*.png and so on"


FORM = Form(find, wanted)


def _spellings(known: Info) -> list[tuple[str, ...]]:
    return [names for names in (known.classes, known.aliases) if names]


def _read_split(splits: dict[str, ClassFiles], classes: Sequence[str], known: Info, resize: bool, split: str) -> Split:
    found = read(splits[split], classes, known.side, resize)
    return Split(as_channels(found.images, known.image_shape[0]), found.labels)


def read(content: ClassFiles, classes: Sequence[str], side: int, resize: bool = False) -> Split:
    """Every image of the class folders.

    Raises DataError: a folder is named like no class, or an image is truncated or (unless ``resize``) of the wrong
    size.
    """
    names = sorted(content)
    where = str(content[names[0]][0].parent.parent)
    labels = _labels(content, classes, where)
    files = [path for name in names for path in content[name]]
    return Split(decode_all(files, side, lambda i: str(files[i]), resize, where), labels)


def _labels(content: ClassFiles, classes: Sequence[str], where: str) -> Index:
    """Of all images, class folder by class folder in the order of their names. Raises DataError."""
    names = sorted(content)
    indices = class_indices(names, classes, where)
    return np.repeat(np.array(indices, dtype=np.int64), [len(content[name]) for name in names])
