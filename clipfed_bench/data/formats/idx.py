"""Gray images of 28×28 in MNIST's idx files, plain or as ``.gz``, read by torchvision.

The files of several data sets have the same names: which one it is is told by the numbers of its labels, which are read
without torch.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipfed_bench.core.errors import DamagedFileError, DataError
from clipfed_bench.core.splits import Split
from clipfed_bench.core.untrusted import reading
from clipfed_bench.data.formats.search import Form, Found, Search
from clipfed_bench.data.info import Info

if TYPE_CHECKING:
    from torch import Tensor

_HEADER = 8
"""Bytes before the labels: a magic number, and how many there are."""
_PIXELS = 16
"""Bytes before the images: besides these their height and width."""
_MOST = 10_000_000
"""Labels in a file."""

Parts = dict[str, tuple[str, str]]
"""Split -> names of its files of images and of labels."""


def form(train: str, test: str, transposed: bool = False) -> Form:
    """Files ``TRAIN-images-idx3-ubyte``, ``TRAIN-labels-idx1-ubyte``, and two for ``test``.

    ``transposed``: rows are stored as columns, as in EMNIST.
    """
    names = {"train": train, "test": test}
    parts = {split: (f"{name}-images-idx3-ubyte", f"{name}-labels-idx1-ubyte") for split, name in names.items()}
    return Form(partial(find, parts, transposed), partial(wanted, parts))


def wanted(parts: Parts, known: Info) -> str:
    """What :func:`find` looks for."""
    return f"idx files, plain or as .gz: {', '.join(name for names in parts.values() for name in names)}"


def find(parts: Parts, transposed: bool, search: Search) -> list[Found]:
    """Folders with all four files, whose labels are as many of each class as the data set has."""
    names = {name for both in parts.values() for name in both}
    folders: dict[Path, dict[str, Path]] = {}
    for path in search.files:
        name = path.name.removesuffix(".gz").replace(".idx", "-idx")
        if name in names:
            folders.setdefault(path.parent, {}).setdefault(name, path)
    fits = []
    for folder, there in folders.items():
        if missing := sorted(names - there.keys()):
            search.seen.append(f"{folder}: idx files without {', '.join(missing)}")
            continue
        files = {split: (there[images], there[labels]) for split, (images, labels) in parts.items()}
        try:
            counts = {split: _counts(labels, len(search.known.classes)) for split, (_, labels) in files.items()}
        except DataError as error:
            search.broken.append(str(error))
            continue
        if counts != {split: search.known.counts(split) for split in files}:
            found = ", ".join(f"{sum(count):,} {split}" for split, count in counts.items())
            search.seen.append(f"{folder}: idx files of another data set ({found} images)")
            continue
        _, height, width = search.known.image_shape
        sizes = {files[split][0]: _PIXELS + sum(count) * height * width for split, count in counts.items()}
        if short := {path: size for path, size in sizes.items() if _size(path) != size}:
            said = (f"truncated or no idx file ({_size(path):,} bytes, not {size:,})" for path, size in short.items())
            search.broken.append("; ".join(f"{path}: {text}" for path, text in zip(short, said, strict=True)) + ".")
            continue
        every = tuple(path for both in files.values() for path in both)
        fits.append(Found("idx files", folder, every, partial(_read, files, transposed)))
    return fits


def _size(path: Path) -> int:
    """Bytes, unpacked; of a packed file as its last four say, without unpacking it."""
    if path.suffix != ".gz":
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        return int.from_bytes(file.read(), "little")


def _counts(path: Path, classes: int) -> tuple[int, ...]:
    """Labels of each class. Raises DataError for a file that is damaged."""
    try:
        with reading(), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(_HEADER + _MOST + 1)
            said = int.from_bytes(content[4:_HEADER], "big")
            if content[:4] != b"\0\0\x08\x01" or len(content) != _HEADER + said:
                raise ValueError(f"{len(content) - _HEADER:,} labels and not {said:,}")
    except DamagedFileError as error:
        raise DataError(f"{path}: truncated or no idx file of labels ({error}).") from error
    labels = np.frombuffer(content, np.uint8, offset=_HEADER)
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _read(files: dict[str, tuple[Path, Path]], transposed: bool, split: str) -> Split:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    image_file, label_file = files[split]
    images, labels = _tensor(image_file, read_image_file), _tensor(label_file, read_label_file)
    if len(images) != len(labels):
        raise DataError(f"{image_file}: {len(images):,} images, but {len(labels):,} labels beside it.")
    pixels = images.transpose(1, 2) if transposed else images
    return Split(np.ascontiguousarray(pixels.numpy())[:, None], labels.numpy())


def _tensor(path: Path, read: Callable[[str], Tensor]) -> Tensor:
    """What torchvision's ``read`` makes of a file. Raises DataError."""
    try:
        with reading():
            if path.suffix != ".gz":
                return read(str(path))
            with gzip.open(path) as packed, tempfile.NamedTemporaryFile() as plain:
                shutil.copyfileobj(packed, plain)
                plain.flush()
                return read(plain.name)
    except DamagedFileError as error:
        raise DataError(f"{path}: truncated or no idx file ({error}).") from error
