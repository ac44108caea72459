"""Data sets that load themselves, also of other packages: made, read, and checked against what they state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from clipfed_bench.components.entry_points import load as load_class
from clipfed_bench.core.data_source import DataSource
from clipfed_bench.core.errors import DataError, UserError, shown
from clipfed_bench.core.splits import Split
from clipfed_bench.data.arrays import canonical_order, check_captions, check_labels
from clipfed_bench.data.info import Info

T = TypeVar("T")


def source(info: Info) -> DataSource:
    """The data set itself. Raises UserError where its module cannot be used."""
    _, made = load_class("dataset", info.name, info.module, DataSource)
    found: DataSource = made()
    return found


def load(info: Info, folder: Path) -> tuple[Split, Split]:
    """Training and test images of a plug-in's data set, checked.

    Raises DataError where they are not what the plug-in states, and for whatever it raises.
    """
    parts = _call(info, lambda source: source.load(folder))
    if not isinstance(parts, tuple) or len(parts) != 2:
        raise DataError(f"{_where(info)}: load must give two splits, for training and for testing.")
    for part, split, counts in zip(("training", "test"), parts, (info.train, info.test), strict=True):
        where = f"{_where(info)}, {part} split"
        _check(split, info, where)
        found = np.bincount(split.labels, minlength=len(counts))
        wrong = [f"{c} {n:,} and not {e:,}" for c, n, e in zip(info.classes, found, counts, strict=True) if n != e]
        if part == "training":
            _check_writers(split, info.writers, where)
        if wrong:
            raise DataError(f"{where}: it holds other numbers of images than it states: {', '.join(wrong[:5])}.")
    return parts


def generated(info: Info, folder: Path) -> Split:
    """Server data of a plug-in's data set, checked, in canonical order. Raises DataError."""
    split = _call(info, lambda source: source.generated(folder))
    where = f"{_where(info)}, server data"
    _check(split, info, where)
    if split.captions is not None:
        check_captions(split.captions, lambda row: f"{where}: image {row}")
    return split.take(canonical_order(split.images, split.labels))


def _call(info: Info, read: Callable[[DataSource], T]) -> T:
    made = source(info)
    try:
        return read(made)
    except UserError:
        raise
    except Exception as error:
        raise DataError(f"{_where(info)}: it raises {type(error).__name__}: {shown(error, 300)}") from error


def _where(info: Info) -> str:
    return f"data set '{info.name}' of the plug-in {info.module}"


def _check(split: object, info: Info, where: str) -> None:
    """Raise DataError for what is no split of images that models can take."""
    if not isinstance(split, Split):
        raise DataError(f"{where}: a {type(split).__name__}; a clipfed_bench.core.splits.Split is needed.")
    labels, shape = split.labels, info.image_shape
    arrays = (split.images, labels)
    kinds = [f"{a.dtype} {a.shape}" if isinstance(a, np.ndarray) else type(a).__name__ for a in arrays]
    count = labels.size if isinstance(labels, np.ndarray) else None
    if kinds != [f"uint8 {(count, *shape)}", f"int64 {(count,)}"]:
        needed = f"uint8 (N, {', '.join(map(str, shape))}) and int64 (N,) are needed"
        raise DataError(f"{where}: images and labels are {' and '.join(kinds)}; {needed}.")
    check_labels(labels, len(info.classes), where)
    texts = split.captions
    if texts is not None and (len(texts) != len(labels) or not all(isinstance(text, str) for text in texts)):
        raise DataError(
            f"{where}: there must be a caption, a text, for each of the {len(labels):,} images, or none at all."
        )


def _check_writers(split: Split, stated: int, where: str) -> None:
    """Raise DataError unless training images are by as many writers as stated, if any."""
    writers = split.writers
    if (stated == 0) != (writers is None):
        found = "says who made each image" if stated == 0 else "does not say who made each image"
        raise DataError(f"{where}: it {found}, but states writers = {stated}.")
    if writers is not None:
        found = f"{writers.dtype} {writers.shape}" if isinstance(writers, np.ndarray) else type(writers).__name__
        count = len(np.unique(writers)) if found == f"int64 {split.labels.shape}" else 0
        if count != stated:
            raise DataError(
                f"{where}: its writers are {found}, {count:,} of them; int64 {split.labels.shape} with {stated:,} is "
                "needed."
            )
