"""The official CIFAR archives (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html), packed or extracted.

The batches are pickles, which can run code when read. So their MD5 is checked first, and they are unpickled by a
reader that allows nothing but numpy arrays and plain containers; torchvision, whose names and MD5 sums these are, reads
them without such care.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from clipfed_bench.core.errors import DamagedFileError, DataError, shown
from clipfed_bench.core.splits import Split
from clipfed_bench.core.untrusted import reading
from clipfed_bench.data.formats.search import Form, Found, Search
from clipfed_bench.data.info import Info


@dataclass(frozen=True)
class Official:
    """The files of one official archive, with the MD5 sums that torchvision publishes."""

    url: str
    archive: str
    size: int
    md5: str
    batches: Mapping[str, Mapping[str, str]]
    """Split -> file name -> MD5."""
    label_key: str

    def names(self) -> set[str]:
        """File names of all batches."""
        return {name for batches in self.batches.values() for name in batches}


_NAMES: Mapping[str, tuple[str, frozenset[str]]] = {
    "cifar10": ("cifar-10-python.tar.gz", frozenset({*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"})),
    "cifar100": ("cifar-100-python.tar.gz", frozenset({"train", "test"})),
}
"""The archive and its batches, by which they are looked for."""


@cache
def published(name: str) -> Official:
    """``cifar10`` or ``cifar100``, as torchvision knows it."""
    from torchvision.datasets import CIFAR10, CIFAR100  # takes seconds, so it waits until something is to be read

    kinds = {"cifar10": (CIFAR10, 170_498_071, "labels"), "cifar100": (CIFAR100, 169_001_437, "fine_labels")}
    theirs, size, label_key = kinds[name]
    batches = {"train": dict(theirs.train_list), "test": dict(theirs.test_list)}
    return Official(theirs.url, theirs.filename, size, theirs.tgz_md5, batches, label_key)


def find(search: Search) -> list[Found]:
    """Archives by their name, then folders with all of its batches."""
    known, fits = search.known, []
    archive, names = _NAMES[known.name]
    for path in search.files:
        if path.name == archive:
            fits.append(Found("official archive", path, (path,), partial(_read_archive, path, known)))
    folders: dict[Path, set[str]] = {}
    for path in search.files:
        if path.name in names and path.suffix == "":
            folders.setdefault(path.parent, set()).add(path.name)
    for folder, present in folders.items():
        missing = sorted(names - present)
        if missing:
            search.broken.append(f"{folder}: extracted batches without {', '.join(missing)}")
            continue
        files = tuple(folder / name for name in sorted(names))
        fits.append(Found("official batches", folder, files, partial(_read_folder, folder, known)))
    return fits


def _read_archive(path: Path, known: Info, split: str) -> Split:
    official = published(known.name)
    size = path.stat().st_size
    if size < official.size:
        raise DataError(f"{path}: truncated, {size:,} of {official.size:,} bytes; delete it and download it again.")
    with path.open("rb") as file:
        _check_md5(hashlib.file_digest(file, "md5").hexdigest(), official.md5, str(path))
    content: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                file_in = archive.extractfile(member) if name in official.batches[split] else None
                if file_in is not None:
                    content[name] = file_in.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: damaged archive ({error}).") from error
    missing = sorted(set(official.batches[split]) - set(content))
    if missing:
        raise DataError(f"{path}: the archive has no {', '.join(missing)}.")
    return _split(content, official, split, known.side, path)


def _read_folder(folder: Path, known: Info, split: str) -> Split:
    official, content = published(known.name), {}
    for name, md5 in official.batches[split].items():
        try:
            with (folder / name).open("rb") as file:  # not in memory before it is known to be what it should be
                _check_md5(hashlib.file_digest(file, "md5").hexdigest(), md5, str(folder / name))
            content[name] = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / name}: cannot be read ({error.strerror}).") from error
    return _split(content, official, split, known.side, folder)


def _split(content: Mapping[str, bytes], official: Official, split: str, side: int, where: Path) -> Split:
    images, labels = [], []
    for name, md5 in official.batches[split].items():
        place = f"{where}: {name}" if where.suffix else str(where / name)
        _check_md5(hashlib.md5(content[name], usedforsecurity=False).hexdigest(), md5, place)
        batch = unpickle(content[name], place)
        data, batch_labels = batch.get("data"), batch.get(official.label_key)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or not isinstance(batch_labels, list):
            raise DataError(f"{place}: no uint8 array 'data' and list '{official.label_key}' in it.")
        if data.shape != (len(batch_labels), 3 * side * side):
            raise DataError(
                f"{place}: {len(batch_labels)} labels and images of the wrong size: data is {data.shape}, "
                f"({len(batch_labels)}, {3 * side * side}) was expected for {side}×{side}."
            )
        if not all(type(label) is int and 0 <= label < 2**31 for label in batch_labels):
            raise DataError(f"{place}: the labels are not whole numbers from 0.")
        images.append(data.reshape(-1, 3, side, side))
        labels.append(np.array(batch_labels, dtype=np.int64))
    return Split(np.concatenate(images), np.concatenate(labels))


def wanted(known: Info) -> str:
    """What :func:`find` looks for."""
    files = published(known.name)
    return f"the official archive {files.archive}, or its extracted batches {', '.join(sorted(files.names()))}"


FORM = Form(find, wanted, spare=True, published=lambda known: published(known.name))
"""CIFAR's archive, or the batches in it."""


def _check_md5(found: str, expected: str, where: str) -> None:
    if found != expected:
        raise DataError(f"{where}: wrong MD5 {found}, expected {expected}; not unpickled. Download it again.")


class _Restricted(pickle.Unpickler):
    """Unpickles numpy arrays, strings, bytes, numbers and containers; any other global is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")


def unpickle(data: bytes, where: str) -> dict[str, Any]:
    """A batch's dictionary, read without running any code of it.

    Raises DataError: it is damaged, is no dictionary, or wants anything but arrays and plain values.
    """
    try:
        with reading():
            batch = _Restricted(io.BytesIO(data), encoding="latin1").load()
    except DamagedFileError as error:
        raise DataError(f"{where}: cannot be unpickled safely ({shown(error)}).") from error
    if not isinstance(batch, dict):
        raise DataError(f"{where}: holds a {type(batch).__name__}, not a dictionary.")
    return batch
