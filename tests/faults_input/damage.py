"""Ways to damage good data sets, by case; and what would run if it were unpickled or opened without care."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from makers.data_files import arrays, batches, class_folders, parquet_folder, write_archive

from clipfed_bench.data.formats import official

DATA = arrays()
SHARD = "train-00000-of-00002.parquet"


class Evil:
    """Leaves a file behind if it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("code-ran",))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n(code-ran) (w) file closefile\nshowpage\n"


def rewrite(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """A change to the table of one shard of a good data set."""

    def damage(root: Path) -> None:
        parquet_folder(root, DATA)
        pq.write_table(change(pq.read_table(root / SHARD)), root / SHARD)

    return damage


def images(first: object) -> Callable[[Path], None]:
    """The first image of one shard is something else."""

    def change(table: pa.Table) -> pa.Table:
        cells = table.column("img").to_pylist()
        cells[0] = {"bytes": first, "path": None}
        return table.set_column(0, "img", pa.array(cells))

    return rewrite(change)


def labels(values: Any, kind: pa.DataType | None = None) -> Callable[[Path], None]:
    """The labels of one shard are ``values``, again and again."""
    return rewrite(lambda t: t.set_column(1, "label", pa.array([values[i % len(values)] for i in range(len(t))], kind)))


def content(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """The bytes of one shard are changed."""

    def damage(root: Path) -> None:
        parquet_folder(root, DATA)
        (root / SHARD).write_bytes(change((root / SHARD).read_bytes()))

    return damage


def names(value: object) -> Callable[[Path], None]:
    """The class names in the schema of every shard are ``value``."""

    def damage(root: Path) -> None:
        parquet_folder(root, DATA)
        for path in root.glob("*.parquet"):
            info = {"info": {"features": {"label": {"names": value, "_type": "ClassLabel"}}}}
            pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": json.dumps(info)}), path)

    return damage


def replaced(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """One shard is something that is no file."""

    def damage(root: Path) -> None:
        parquet_folder(root, DATA)
        (root / SHARD).unlink()
        make(root / SHARD)

    return damage


def folder(change: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Class folders, with a change to those of the training images."""

    def damage(root: Path) -> None:
        for split, part in DATA.items():
            class_folders(root / split, *part)
        change(root / "train")

    return damage


def cat(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Class folders in which ``make`` makes one image of a cat anew."""

    def change(train: Path) -> None:
        one = next((train / "cat").iterdir())
        one.unlink()
        make(one)

    return folder(change)


def official_batches(change: Callable[[dict[str, bytes]], None], packed: bool = False) -> Callable[..., None]:
    """The batches after ``change``, with their MD5 sums in the table: as if the publisher had been broken into."""

    def damage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = batches(DATA)
        change(files)
        entry = official.published("cifar10")
        sums = {
            split: {name: hashlib.md5(files.get(name, b"")).hexdigest() for name in entry.batches[split]}
            for split in ("train", "test")
        }
        if packed:
            path = root / entry.archive
            write_archive(path, files)
            entry = replace(entry, md5=hashlib.md5(path.read_bytes()).hexdigest(), size=path.stat().st_size)
        else:
            for name, data in files.items():
                (root / name).write_bytes(data)
        monkeypatch.setattr(official, "published", lambda name: replace(entry, batches=sums))

    return damage


def batch(**more: object) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files["data_batch_1"] = pickle.dumps(pickle.loads(files["data_batch_1"]) | more, protocol=4)

    return change


def put(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.update({name: data})


def repeated(root: Path) -> None:
    """One large image in every row: some kB that expand to gigabytes."""
    parquet_folder(root, DATA)
    table = pq.read_table(root / SHARD)
    cells = pa.array([{"bytes": b"\0" * 2**22, "path": None}] * len(table))
    pq.write_table(table.set_column(0, "img", cells), root / SHARD, use_dictionary=False, compression="zstd")
