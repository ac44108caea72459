"""Images in parquet files, as the Hugging Face hub stores them.

One row an image: a column ``img`` or ``image`` (a struct with ``bytes``, or the bytes themselves), a column
``fine_label`` or ``label`` (integers, with class names in the schema's ``huggingface`` metadata, or the names
themselves) and perhaps ``caption`` or ``text``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipfed_bench.core.errors import DamagedFileError, DataError, shown
from clipfed_bench.core.splits import Bytes, Index, Split
from clipfed_bench.core.untrusted import parquet_file, parse_json, reading
from clipfed_bench.data.arrays import check_captions, check_labels, decode_all, decoding
from clipfed_bench.data.class_names import class_indices, overlap
from clipfed_bench.data.formats.search import Found, Search

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("fine_label", "label", "labels")
_CAPTION_COLUMNS = ("caption", "text", "prompt")
_BATCH = 50
"""Rows in memory at a time: a small file may hold one large image many times."""
_EXPANDS = 2**26
"""Bytes of a column that may expand to more than a hundred times its size in the file; images hardly do."""


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
    files = tuple(shard.path for shard in group.shards())
    return Found("parquet", group.folder, files, lambda split: read(group.splits[split], known.classes, known.side))


def inspect(path: Path) -> Shard | None:
    """What the file holds, or None if it has no image and label column.

    Raises DataError: the file is truncated or no parquet file.
    """
    try:
        with parquet_file(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except DamagedFileError as error:
        size = path.stat().st_size if path.exists() else 0
        raise DataError(f"{path}: truncated or no parquet file ({size:,} bytes; {shown(error, 300)}).") from error
    twice = [name for name in dict.fromkeys(schema.names) if schema.names.count(name) > 1]
    if any(name in (*_IMAGE_COLUMNS, *_LABEL_COLUMNS, *_CAPTION_COLUMNS) for name in twice):
        raise DataError(f"{path}: several columns are called '{shown(twice[0])}'.")
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
        with reading():
            names: Any = parse_json((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except DamagedFileError:
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def read(shards: Sequence[Shard], classes: Sequence[str], side: int, resize: bool = False) -> Split:
    """Every row of ``shards``; labels are mapped to ``classes`` by name where names are stored.

    Raises DataError: truncated file or image, wrong size (unless ``resize``), label out of range, foreign class name.
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
    images, labels, row = [], [], 0
    captions: list[str] = []
    try:
        with parquet_file(shard.path) as file:
            _refuse_bomb(file.metadata, shard)
            batches = file.iter_batches(_BATCH, columns=columns, use_threads=False)
            for batch in decoding(batches, shard.rows, shard.path.name, -(-shard.rows // _BATCH)):
                images.append(_images(batch.column(shard.image), shard, row, side, resize))
                labels.append(_labels(batch.column(shard.label), shard, row, classes))
                captions += _captions(batch.column(shard.caption), shard, row) if shard.caption else ()
                row += len(batch)
    except DamagedFileError as error:
        raise DataError(f"{shard.path}: truncated or damaged parquet file ({shown(error, 300)}).") from error
    none = np.empty((0, 3, side, side), dtype=np.uint8)
    return Split(
        np.concatenate([none, *images]),
        np.concatenate([np.empty(0, dtype=np.int64), *labels]),
        tuple(captions) if shard.caption else None,
    )


def _refuse_bomb(metadata: Any, shard: Shard) -> None:
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            size, large = column.total_compressed_size, column.total_uncompressed_size
            if large > max(_EXPANDS, 100 * size):
                name = column.path_in_schema
                raise DataError(f"{shard.path}: column '{name}' expands from {size:,} to {large:,} bytes; not read.")


def _images(column: Any, shard: Shard, first: int, side: int, resize: bool) -> Bytes:
    encoded: list[bytes] = []
    for row, cell in enumerate(column.to_pylist(), first):
        item = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(item, bytes):
            raise DataError(f"{shard.path}: row {row} has no image bytes in column '{shard.image}'.")
        encoded.append(item)
    return decode_all(encoded, side, lambda row: f"{shard.path}: row {first + row}", resize, shard.path.name)


def _captions(column: Any, shard: Shard, first: int) -> list[str]:
    texts = [text or "" for text in column.to_pylist()]
    check_captions(texts, lambda row: f"{shard.path}: row {first + row}")
    return texts


def _labels(column: Any, shard: Shard, first: int, classes: Sequence[str]) -> Index:
    """Labels as indices into ``classes``; ``first`` is the number of the first row."""
    if column.null_count:
        raise DataError(f"{shard.path}: {column.null_count} rows have no label in column '{shard.label}'.")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts = column.to_pylist()
        names = sorted(set(texts))
        index = dict(zip(names, class_indices(names, classes, str(shard.path)), strict=True))
        return np.array([index[t] for t in texts], dtype=np.int64)
    if not pa.types.is_integer(column.type):
        raise DataError(f"{shard.path}: column '{shard.label}' is {column.type}; integers or class names are needed.")
    labels: Index = column.to_numpy(zero_copy_only=False).astype(np.int64)
    check_labels(labels, len(shard.names or classes), str(shard.path), first)
    if shard.names is None:
        return labels
    return np.array(class_indices(shard.names, classes, str(shard.path)), dtype=np.int64)[labels]
