"""Characters and who wrote them: FEMNIST as the Hugging Face hub has it in parquet files, or LEAF in JSON.

Both are one split. A tenth of each writer's images, rounded down, is for testing, as LEAF splits by sample; which ones
follows from their content [ours].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from clipfed_bench.core.errors import DamagedFileError, DataError, shown
from clipfed_bench.core.splits import Index, Split
from clipfed_bench.core.untrusted import reading
from clipfed_bench.data.arrays import as_channels, canonical_order
from clipfed_bench.data.formats import columns, rows
from clipfed_bench.data.formats.search import Form, Found, Search
from clipfed_bench.data.info import Info

_COLUMNS = ("image", "writer_id", "character")
_BATCH = 2000
"""Rows in memory at a time."""
_TEST = 10
"""One image of so many is for testing."""

Part = tuple[np.ndarray[Any, Any], Index, list[str]]
"""Images uint8 (N, 1, S, S), labels (N,), and the writer of each."""
Read = Callable[[Path, Info], Iterable[Part]]
"""What reads a file. Raises anything where it is damaged."""
Whole = Callable[[], dict[str, Split]]
"""What reads all files of a copy, once."""


def wanted(known: Info) -> str:
    """What :func:`find` looks for."""
    return f"Hugging Face parquet shards with the columns {', '.join(_COLUMNS)}, or LEAF's files all_data_*.json"


def find(search: Search) -> list[Found]:
    """Folders of such files, of which any number makes a copy: people take samples of writers.

    What LEAF has split into the folders train and test is one copy, and divided here as any other.
    """
    shards: dict[Path, list[Path]] = {}
    leaves: dict[Path, list[Path]] = {}
    for path in search.files:
        if path.suffix == ".parquet" and _is_shard(path, search):
            shards.setdefault(_folder(path), []).append(path)
        elif path.suffix == ".json" and path.name.startswith("all_data"):
            leaves.setdefault(_folder(path), []).append(path)
    kinds = (("parquet", shards, _read_shard), ("LEAF files", leaves, _read_leaf))
    return [
        Found(kind, folder, tuple(paths), partial(_split, _whole(paths, search.known, read)))
        for kind, folders, read in kinds
        for folder, paths in folders.items()
    ]


def _folder(path: Path) -> Path:
    return path.parent.parent if path.parent.name in ("train", "test") else path.parent


FORM = Form(find, wanted)


def divided(whole: Split) -> dict[str, Split]:
    """``train`` and ``test`` of images whose writers are known."""
    assert whole.writers is not None
    order = canonical_order(whole.images, whole.labels)
    order = order[np.argsort(whole.writers[order], kind="stable")]
    _, first, counts = np.unique(whole.writers[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    test = rank < np.repeat(counts // _TEST, counts)
    return {"train": whole.take(order[~test]), "test": whole.take(order[test])}


def _whole(paths: Sequence[Path], known: Info, read: Read) -> Whole:
    @cache
    def whole() -> dict[str, Split]:
        parts = [part for path in paths for part in _checked(path, read, known)]
        names = [name for _, _, writers in parts for name in writers]
        images, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        return divided(Split(images, labels, None, np.unique(names, return_inverse=True)[1].astype(np.int64)))

    return whole


def _split(whole: Whole, split: str) -> Split:
    return whole()[split]


def _checked(path: Path, read: Read, known: Info) -> list[Part]:
    """What ``read`` makes of a file. Raises DataError."""
    try:
        with reading():
            parts = list(read(path, known))
    except DamagedFileError as error:
        raise DataError(f"{path}: truncated or damaged file ({shown(error, 300)}).") from error
    for images, labels, writers in parts:
        if len(images) != len(labels) or len(labels) != len(writers):
            raise DataError(f"{path}: {len(images):,} images, {len(labels):,} labels, {len(writers):,} writers.")
    return parts


def _is_shard(path: Path, search: Search) -> bool:
    try:
        with rows.opened(path) as file:
            return set(_COLUMNS) <= set(file.schema.names)
    except DamagedFileError as error:
        search.seen.append(f"{path}: truncated or no parquet file ({shown(error, 300)})")
        return False


def _read_shard(path: Path, known: Info) -> Iterable[Part]:
    first = 0
    with rows.opened(path) as file:
        rows.check_size(file, path)
        for batch in file.batches(_COLUMNS, _BATCH):
            image, writer, character = (batch.column(name) for name in _COLUMNS)
            pixels = columns.images(image, _COLUMNS[0], str(path), first, known.side, False)
            labels = np.array(character.to_pylist(), dtype=np.int64)
            yield as_channels(pixels, known.image_shape[0]), labels, [str(name) for name in writer.to_pylist()]
            first += len(labels)


def _read_leaf(path: Path, known: Info) -> Iterable[Part]:
    for name, samples in json.loads(path.read_bytes())["user_data"].items():
        pixels = np.asarray(samples["x"], dtype=np.float64).reshape(-1, *known.image_shape)
        if not ((pixels >= 0) & (pixels <= 1)).all():
            raise ValueError("pixels outside of 0 … 1")
        yield (pixels * 255).round().astype(np.uint8), np.asarray(samples["y"], dtype=np.int64), [name] * len(pixels)
