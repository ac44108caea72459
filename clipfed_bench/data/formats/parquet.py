"""Images in parquet files, as the Hugging Face hub stores them, and in Arrow files, as its library saves them.

One row an image: a column ``img`` or ``image`` (a struct with ``bytes``, or the bytes themselves), a column
``fine_label`` or ``label`` (integers, with class names in the schema's ``huggingface`` metadata, or the names
themselves) and perhaps ``caption``, ``text`` or ``prompt``. Which Arrow types these have is :mod:`.columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clipfed_bench.core.errors import DamagedFileError, DataError, shown
from clipfed_bench.core.splits import Index, Split
from clipfed_bench.core.untrusted import parse_json, read_json, reading
from clipfed_bench.data.arrays import as_channels, decoding, long_tail
from clipfed_bench.data.class_names import overlap
from clipfed_bench.data.formats import columns, rows
from clipfed_bench.data.formats.naming import Readmes, says_generated, split_of
from clipfed_bench.data.formats.search import Form, Found, Search, other_set
from clipfed_bench.data.info import Info

T = TypeVar("T")

_BATCH = 50
"""Rows in memory at a time: a small file may hold one large image many times."""
_LABELS = 2**16
"""Labels in memory at a time."""


@dataclass(frozen=True)
class Shard:
    """One file of images, as far as its footer tells."""

    path: Path
    rows: int
    image: str
    label: str
    caption: str | None
    names: tuple[str, ...] | None
    """Class names: of integer labels, by label, as the schema has them; or those that occur. None: neither."""
    generated: bool = False
    """Its metadata say so."""
    aside: str = ""
    """What looks like captions and is not taken."""


@dataclass
class Group:
    """The shards of one data set: those of one folder, or of its ``train`` and ``test`` folders."""

    folder: Path
    splits: dict[str, list[Shard]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    useless: list[str] = field(default_factory=list)
    """Why files are none of its shards."""

    def shards(self) -> list[Shard]:
        """All shards of all splits."""
        return [shard for shards in self.splits.values() for shard in shards]

    def rows(self) -> dict[str, int]:
        """Rows of each split."""
        return {name: sum(shard.rows for shard in shards) for name, shards in self.splits.items()}

    def has_classes(self, classes: Sequence[str]) -> bool:
        """Whether the class names are these; false where there are none."""
        names = next((shard.names for shard in self.shards() if shard.names), None)
        return names is not None and len(names) == len(classes) and overlap(names, classes) == 1.0


def groups(files: Iterable[Path], root: Path) -> list[Group]:
    """The data sets among ``files`` below ``root``. A group may hold damaged or useless files alone.

    Files that say nothing of their split are ``train`` where nothing else is; else they are in a split without a name.
    """
    found: dict[Path, Group] = {}
    readmes = Readmes(root if root.is_dir() else root.parent)
    for path in files:
        if path.suffix not in rows.SUFFIXES or path.name.startswith(("cache-", "tmp")):  # steps of `datasets`
            continue
        own, above = split_of(path.stem), split_of(path.parent.name) if path.parent != root else None
        folder = path.parent.parent if own is None and above else path.parent
        if stated := readmes.split_of(path):
            folder, own = stated
        group = found.setdefault(folder, Group(folder))
        try:
            shard = inspect(path)
        except DataError as error:
            group.damaged.append(str(error))
            continue
        if isinstance(shard, str):
            group.useless.append(shard)
        else:
            group.splits.setdefault(own or above or "", []).append(shard)
    for group in found.values():
        group.damaged += _absent(group)
        if "" in group.splits and "train" not in group.splits:
            group.splits["train"] = group.splits.pop("")
    return list(found.values())


def _absent(group: Group) -> list[str]:
    """Files that a folder of ``save_to_disk`` should hold by its ``state.json``, and does not."""
    gone = []
    for folder in {shard.path.parent for shard in group.shards() if shard.path.suffix == ".arrow"}:
        try:
            with reading():
                names = [str(item["filename"]) for item in read_json(folder / "state.json")["_data_files"]]
        except (DamagedFileError, FileNotFoundError):
            continue
        gone += [f"{folder / name}: state.json names it, and it is not there" for name in names if _no(folder / name)]
    return gone


def _no(path: Path) -> bool:
    try:
        return not path.is_file()
    except (OSError, ValueError):
        return True


def form(test: str = "test") -> Form:
    """Of data sets as the Hugging Face hub has them; ``test`` or ``validation`` is what is tested on."""
    return Form(partial(find, test=test), partial(wanted, test=test))


def wanted(known: Info, test: str) -> str:
    """What :func:`find` looks for."""
    return (
        "Hugging Face parquet shards, or Arrow files of save_to_disk: columns img or image, and label or "
        f"fine_label; {known.rows('train'):,} train and {known.rows('test'):,} {test} rows"
    )


def find(search: Search, test: str = "test") -> list[Found]:
    """Folders whose shards have the data set's class names, and exactly its rows to train on and to test.

    Without class names the numbers of rows decide, and the label column (``fine_label`` for 100 classes). One whose
    name says that it was generated counts where there is no other.
    """
    known, fits = search.known, []
    expected = {"train": known.rows("train"), test: known.rows("test")}
    for group in groups(search.files, search.root):
        rows = group.rows()
        named = any(shard.names for shard in group.shards())
        spelled = _spelled(group, known)
        label_fits = len(known.classes) <= 10 or any(s.label == "fine_label" for s in group.shards())
        counts = ", ".join(f"{count:,} {split or 'other'}" for split, count in sorted(rows.items())) or "no readable"
        if not (spelled is not None if named else rows == expected and label_fits):
            search.seen += [f"{group.folder}: parquet of other classes ({counts} rows)"] if rows else []
            search.seen += group.damaged + group.useless
        elif group.damaged:
            search.broken += group.damaged
        elif other := other_set(known, rows.get("train"), rows.get(test)):
            search.seen.append(f"{group.folder}: parquet of {other}")
        elif not expected.keys() <= rows.keys():
            other = f"{group.folder}: parquet with these classes but only {counts} rows (server data?)"
            search.seen.append(_long_tail(group, known) or other)
        elif tail := _long_tail(group, known):
            search.broken.append(tail)
        elif not expected.items() <= rows.items():
            wanted = ", ".join(f"{count:,} {split}" for split, count in sorted(expected.items()))
            search.broken.append(f"{group.folder}: parquet with {counts} rows instead of {wanted}; is a shard missing?")
        else:
            fits.append(group)
    real = [group for group in fits if not says_generated(group.folder.name)]
    return [_found(group, known, test) for group in real or fits]


def _spelled(group: Group, known: Info) -> tuple[str, ...] | None:
    """The names by which the shards call the classes of ``known``, by label; None where they do not."""
    return next((names for names in (known.classes, known.aliases) if names and group.has_classes(names)), None)


def _found(group: Group, known: Info, test: str) -> Found:
    parts = {"train": group.splits["train"], "test": group.splits[test]}
    files = tuple(shard.path for shards in parts.values() for shard in shards)
    names = _spelled(group, known) or known.classes

    def decode(split: str) -> Split:
        found = read(parts[split], names, known.side)
        return Split(as_channels(found.images, known.image_shape[0]), found.labels)

    return Found(files[0].suffix[1:], group.folder, files, decode)


def _long_tail(group: Group, known: Info) -> str:
    """What is to be said of a set with fewer images that is no damaged copy; nothing else is."""
    if not 0 < group.rows().get("train", 0) < known.rows("train"):
        return ""
    try:
        return long_tail(read_labels(group.splits["train"], known.classes), known, str(group.folder))
    except DataError:
        return ""


def inspect(path: Path) -> Shard | str:
    """What the file holds; or why it is of no use, where it has no image and label column.

    Raises DataError: the file is truncated or of another kind.
    """
    try:
        with rows.opened(path) as file:
            schema, count = file.schema, file.count
            image, label, caption = (columns.find_column(schema, role) for role in columns.NAMES)
            names = _class_names(schema.metadata, label)
            if names is None and label is not None and columns.is_text(schema.field(label).type):
                names = _distinct(file, label)
    except DamagedFileError as error:
        kind, size = path.suffix[1:].replace("arrow", "Arrow"), path.stat().st_size if path.exists() else 0
        raise DataError(f"{path}: truncated or no {kind} file ({size:,} bytes; {shown(error, 300)}).") from error
    twice = [name for name in dict.fromkeys(schema.names) if schema.names.count(name) > 1]
    if any(name in known for name in twice for known in columns.NAMES.values()):
        raise DataError(f"{path}: several columns are called '{shown(twice[0])}'.")
    if image is None or label is None:
        seen = [columns.not_taken(schema, role) for role, name in (("image", image), ("label", label)) if name is None]
        return f"{path}: no column of images and of labels" + "".join(f"; {text}" for text in seen if text)
    aside = "" if caption else columns.not_taken(schema, "caption")
    return Shard(path, count, image, label, caption, names, _says_generated(schema.metadata), aside)


def _distinct(file: rows.Rows, label: str) -> tuple[str, ...]:
    found: set[str] = set()
    for batch in file.batches([label], _LABELS):
        found.update(text for text in batch.column(label).unique().to_pylist() if text is not None)
    return tuple(sorted(found))


def _stated(metadata: dict[bytes, bytes] | None) -> Any:
    """``info`` of the schema's ``huggingface`` metadata, if it is there and a dictionary."""
    try:
        with reading():
            info = parse_json((metadata or {})[b"huggingface"])["info"]
    except DamagedFileError:
        return {}
    return info if isinstance(info, dict) else {}


def _class_names(metadata: dict[bytes, bytes] | None, label: str | None) -> tuple[str, ...] | None:
    """Names of a ClassLabel feature."""
    try:
        with reading():
            names: Any = _stated(metadata)["features"][label]["names"]
    except DamagedFileError:
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _says_generated(metadata: dict[bytes, bytes] | None) -> bool:
    """Whether ``clipfed-bench server-data generate`` made it, or the name that `datasets` keeps says so."""
    return b"clipfed_bench" in (metadata or {}) or says_generated(str(_stated(metadata).get("dataset_name")))


def read(shards: Sequence[Shard], classes: Sequence[str], side: int, resize: bool = False) -> Split:
    """Every row of ``shards``; labels are mapped to ``classes`` by name where names are stored.

    Raises DataError: truncated file or image, wrong size (unless ``resize``), label out of range, foreign class name.
    """
    parts = [_read_shard(shard, classes, side, resize) for shard in shards]
    texts = tuple(text for part in parts for text in part.captions or [""] * len(part.labels))
    images, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    return Split(images, labels, texts if any(texts) else None)


def read_labels(shards: Sequence[Shard], classes: Sequence[str]) -> Index:
    """The labels of ``shards``, as indices into ``classes``; no image is decoded. Raises DataError as :func:`read`."""
    return np.concatenate([np.empty(0, dtype=np.int64), *(_open(shard, partial(_labels, classes)) for shard in shards)])


def _labels(classes: Sequence[str], shard: Shard, file: rows.Rows) -> Index:
    parts = [batch.column(shard.label) for batch in file.batches([shard.label], _LABELS)]
    if not parts:
        return np.empty(0, dtype=np.int64)
    import pyarrow as pa

    whole = pa.chunked_array(parts)
    stored = None if columns.is_text(whole.type) else shard.names
    return columns.labels(whole, shard.label, stored, classes, str(shard.path))


def _open(shard: Shard, read: Callable[[Shard, rows.Rows], T]) -> T:
    try:
        with rows.opened(shard.path) as file:
            rows.check_size(file, shard.path)
            return read(shard, file)
    except DamagedFileError as error:
        raise DataError(f"{shard.path}: truncated or damaged file ({shown(error, 300)}).") from error


def _read_shard(shard: Shard, classes: Sequence[str], side: int, resize: bool) -> Split:
    return _open(shard, partial(_split, classes, side, resize))


def _split(classes: Sequence[str], side: int, resize: bool, shard: Shard, file: rows.Rows) -> Split:
    wanted = [name for name in (shard.image, shard.caption) if name]
    where, images, captions = str(shard.path), [np.empty((0, 3, side, side), dtype=np.uint8)], []
    labels = _labels(classes, shard, file)
    for batch in decoding(file.batches(wanted, _BATCH), shard.rows, shard.path.name, -(-shard.rows // _BATCH)):
        first = sum(map(len, images))
        images.append(columns.images(batch.column(shard.image), shard.image, where, first, side, resize))
        captions += columns.captions(batch.column(shard.caption), where, first) if shard.caption else []
    return Split(np.concatenate(images), labels, tuple(captions) if shard.caption else None)
