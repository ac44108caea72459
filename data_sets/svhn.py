"""SVHN: 73,257 training and 26,032 test images of house numbers' digits, from photographs

Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", NIPS workshop 2011: the cropped
digits.

Deviations: the 531,131 images that are called extra are left out.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.core.errors import DamagedFileError, DataError
from clipfed_bench.core.splits import Split
from clipfed_bench.core.untrusted import reading
from clipfed_bench.data.formats import parquet
from clipfed_bench.data.formats.search import Form, Found, Search

_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


def find(search: Search) -> list[Found]:
    """Folders with both files."""
    folders = [path.parent for path in search.files if path.name == _FILES["train"]]
    fits = []
    for folder in folders:
        files = tuple(folder / name for name in _FILES.values())
        if files[1] in search.files:
            fits.append(Found("official files", folder, files, partial(read, folder)))
        else:
            search.broken.append(f"{folder}: {_FILES['train']} without {_FILES['test']}")
    return fits


def read(folder: Path, split: str) -> Split:
    """As torchvision reads it, MD5 first. Raises DataError."""
    from torchvision import datasets

    path, expected = folder / _FILES[split], datasets.SVHN.split_list[split][2]
    try:
        with reading():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != expected:
                raise ValueError(f"its MD5 is {found} and not {expected}; get it again")
            theirs = datasets.SVHN(str(folder), split)
            return Split(theirs.data, theirs.labels)
    except DamagedFileError as error:
        raise DataError(f"{path}: damaged ({error}).") from error


class SVHN(DataSource):
    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    train_per_class = (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659)
    test_per_class = (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595)
    aliases = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    captions = ("a photo of the number {}.", "a street sign of the number {}.", "a house number with the digit {}.")
    forms = (parquet.form(), Form(find, lambda known: " and ".join(_FILES.values())))
    obtain = (
        "Get both with torchvision.datasets.SVHN(FOLDER, SPLIT, download=True), or it as ufldl-stanford/svhn from the "
        "Hugging Face hub."
    )
