"""Images in parquet files, as the Hugging Face hub stores them.

One row an image: a column ``img`` or ``image`` (a struct with ``bytes``, or the bytes themselves), a column
``fine_label`` or ``label`` (integers, with class names in the schema's ``huggingface`` metadata, or the names
themselves) and perhaps ``caption`` or ``text``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipfed_bench.data.arrays import Split, check_labels, decode_all
from clipfed_bench.data.found import Found, Search
from clipfed_bench.data.names import class_indices, overlap
from clipfed_bench.errors import DataError

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("fine_label", "label", "labels")
_CAPTION_COLUMNS = ("caption", "text", "prompt")


@dataclass(frozen=True)
class Shard:
    """One parquet file of images, as far as its footer tells."""

    path: Path
    rows: int
    image: str
    label: str
    caption: str | None
    names: tuple[str, ...] | None
    """Class names of integer labels, by label; None where the schema has none."""


@dataclass
class Group:
    """The shards of one data set: those of one folder, or of its ``train`` and ``test`` folders."""

    folder: Path
    splits: dict[str, list[Shard]]
    damaged: list[str]

    def shards(self) -> list[Shard]:
        """All shards of all splits."""
        return [shard for shards in self.splits.values() for shard in shards]

    def rows(self) -> dict[str, int]:
        """Rows of each split."""
        return {name: sum(shard.rows for shard in shards) for name, shards in self.splits.items()}

    def has_classes(self, classes: Sequence[str]) -> bool:
        """Whether the schema's class names are these; false where it has none."""
        names = next((shard.names for shard in self.shards() if shard.names), None)
        return names is not None and len(names) == len(classes) and overlap(names, classes) == 1.0


def groups(files: Iterable[Path]) -> list[Group]:
    """The data sets among ``files``; a file that holds no labelled images is left out."""
    found: dict[Path, Group] = {}
    for path in files:
        if path.suffix != ".parquet":
            continue
        own = _split_of(path.stem)
        split = own or _split_of(path.parent.name) or "train"
        folder = path.parent.parent if own is None and _split_of(path.parent.name) else path.parent
        group = found.setdefault(folder, Group(folder, {}, []))
        try:
            shard = inspect(path)
        except DataError as error:
            group.damaged.append(str(error))
            continue
        if shard:
            group.splits.setdefault(split, []).append(shard)
    return [group for group in found.values() if group.splits or group.damaged]


def _split_of(name: str) -> str | None:
    match = re.search(r"(?:^|[^a-z])(train|test)(?![a-z])", name.lower())
    return match[1] if match else None


def find(search: Search) -> Found | None:
    """The folder whose shards have the data set's class names, both splits, and exactly its numbers of rows.

    Without names in the schema the numbers of rows decide, and the label column (``fine_label`` for 100 classes).
    """
    known, fits = search.known, []
    expected = {split: known.rows(split) for split in ("train", "test")}
    for group in groups(search.files):
        rows = group.rows()
        named = any(shard.names for shard in group.shards())
        label_fits = len(known.classes) <= 10 or any(s.label == "fine_label" for s in group.shards())
        ours = group.has_classes(known.classes) if named else rows == expected and label_fits
        counts = ", ".join(f"{count:,} {split}" for split, count in sorted(rows.items())) or "no readable"
        if not ours:
            search.seen.append(f"{group.folder}: parquet of other classes ({counts} rows)")
            search.seen.extend(group.damaged)
        elif group.damaged:
            search.broken.extend(group.damaged)
        elif set(rows) != set(expected):
            search.seen.append(f"{group.folder}: parquet with these classes but only {counts} rows (server data?)")
        elif rows != expected:
            wanted = ", ".join(f"{count:,} {split}" for split, count in sorted(expected.items()))
            search.broken.append(f"{group.folder}: parquet with {counts} rows instead of {wanted}; is a shard missing?")
        else:
            fits.append(group)
    if not fits:
        return None
    group = min(fits, key=lambda g: bool(re.search("generated|synthetic|fake", g.folder.name.lower())))
    return _found(group, known.classes, known.side)


def _found(group: Group, classes: Sequence[str], side: int) -> Found:
    splits: Mapping[str, list[Shard]] = group.splits
    return Found(
        "parquet",
        group.folder,
        tuple(shard.path for shard in group.shards()),
        lambda split: read(splits[split], classes, side),
    )


def inspect(path: Path) -> Shard | None:
    """What the file holds, or None if it has no image and label column.

    Raises:
        DataError: the file is truncated or no parquet file.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise DataError(f"{path}: truncated or no parquet file ({size:,} bytes; {error}).") from error
    image = next((c for c in _IMAGE_COLUMNS if c in schema.names), None)
    label = next((c for c in _LABEL_COLUMNS if c in schema.names), None)
    caption = next(
        (c for c in _CAPTION_COLUMNS if c in schema.names and pa.types.is_string(schema.field(c).type)), None
    )
    if image is None or label is None:
        return None
    return Shard(path, rows, image, label, caption, _class_names(schema.metadata, label))


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Names of a ClassLabel feature in the schema's ``huggingface`` metadata."""
    try:
        names: Any = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def read(shards: Sequence[Shard], classes: Sequence[str], side: int, resize: bool = False) -> Split:
    """Every row of ``shards``; labels are mapped to ``classes`` by name where names are stored.

    Raises:
        DataError: truncated file or image, wrong size (unless ``resize``), label out of range, foreign class name.
    """
    parts = [_read_shard(shard, classes, side, resize) for shard in shards]
    captions = [part.captions for part in parts]
    return Split(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        None if any(c is None for c in captions) else tuple(text for c in captions for text in c or ()),
    )


def _read_shard(shard: Shard, classes: Sequence[str], side: int, resize: bool) -> Split:
    columns = [c for c in (shard.image, shard.label, shard.caption) if c]
    try:
        table = pq.read_table(shard.path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shard.path}: truncated or damaged parquet file ({error}).") from error
    cells = table.column(shard.image).to_pylist()
    encoded: list[bytes] = []
    for row, cell in enumerate(cells):
        item = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(item, bytes):
            raise DataError(f"{shard.path}: row {row} has no image bytes in column '{shard.image}'.")
        encoded.append(item)
    images = decode_all(encoded, side, lambda row: f"{shard.path}: row {row}", resize, shard.path.name)
    captions = None
    if shard.caption:
        captions = tuple(str(text or "") for text in table.column(shard.caption).to_pylist())
    return Split(images, _labels(table.column(shard.label), shard, classes), captions)


def _labels(column: Any, shard: Shard, classes: Sequence[str]) -> Any:
    """Labels as indices into ``classes``."""
    if column.null_count:
        raise DataError(f"{shard.path}: {column.null_count} rows have no label in column '{shard.label}'.")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts = column.to_pylist()
        names = sorted(set(texts))
        index = dict(zip(names, class_indices(names, classes, str(shard.path)), strict=True))
        return np.array([index[t] for t in texts], dtype=np.int64)
    if not pa.types.is_integer(column.type):
        raise DataError(f"{shard.path}: column '{shard.label}' is {column.type}; integers or class names are needed.")
    labels = column.to_numpy().astype(np.int64)
    if shard.names is None:
        check_labels(labels, len(classes), str(shard.path))
        return labels
    check_labels(labels, len(shard.names), str(shard.path))
    return np.array(class_indices(shard.names, classes, str(shard.path)), dtype=np.int64)[labels]
