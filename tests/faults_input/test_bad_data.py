"""Data sets that are damaged, foreign or hostile. Nothing of them is run, and nothing is kept."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bad import refused, run
from damage import (
    DATA,
    POSTSCRIPT,
    SHARD,
    Evil,
    batch,
    cat,
    content,
    folder,
    images,
    labels,
    names,
    official_batches,
    put,
    repeated,
    replaced,
    rewrite,
)
from makers.data_files import arrays, batches, parquet_folder, picture, png

from clipfed_bench.data.formats import official

pytestmark = pytest.mark.usefixtures("small_cifar")

SHADOW = pa.array([b"x"] * 30)
CIFAR: list[tuple[str, Callable[..., None], tuple[str, ...]]] = [
    # parquet
    ("truncated", content(lambda c: c[:-100]), (SHARD, "truncated or no parquet file")),
    ("empty file", content(lambda c: b""), (SHARD, "truncated or no parquet file (0 bytes")),
    ("text", content(lambda c: b"hello" * 100), (SHARD, "truncated or no parquet file (500 bytes")),
    ("footer of nonsense", content(lambda c: c[:-60] + b"\xff" * 52 + c[-8:]), (SHARD, "no parquet file")),
    ("pages of nonsense", content(lambda c: c[:4] + b"\xff" * 2000 + c[2004:]), (SHARD, "damaged")),
    ("no image column", rewrite(lambda t: t.rename_columns(["photo", "label"])), ("is a shard missing?",)),
    ("no label column", rewrite(lambda t: t.rename_columns(["img", "kind"])), ("is a shard missing?",)),
    ("two image columns", rewrite(lambda t: t.append_column("img", SHADOW)), (SHARD, "several columns", "'img'")),
    ("label too large", labels([0, 10]), (SHARD, "label out of range in row 1: 10", "0 to 9")),
    ("label below 0", labels([-1]), (SHARD, "label out of range in row 0: -1")),
    ("label of 64 bits", labels([2**64 - 1], pa.uint64()), (SHARD, "label out of range")),
    ("label missing", labels([None, 1], pa.int64()), (SHARD, "rows have no label", "'label'")),
    ("label of a fraction", labels([0.5]), (SHARD, "column 'label' is double", "class names are needed")),
    ("label of a foreign class", labels(["cat", "dig"]), (SHARD, "'dig' is no class", "Did you mean 'dog'?")),
    ("label as a list", labels([[1]]), (SHARD, "column 'label' is list", "integers or class names")),
    ("labels of one class", labels([3]), ("must hold 6 images of each class",)),
    ("names of other classes", names(["a"] * 10), ("cifar10 was not found", "parquet of other classes")),
    ("image of 28×28", images(png(arrays(side=28)["train"][0][0])), ("row 0", "28×28", "32×32 was expected")),
    ("image of 1×1", images(picture(1, 1)), ("row 0", "1×1", "32×32")),
    ("image that is cut off", images(png(DATA["train"][0][0])[:-1500]), ("row 0", "cannot be decoded")),
    ("image of text", images(b"hello"), ("row 0", "none of PNG, JPEG, WEBP, BMP, PPM")),
    ("image of no bytes", images(b""), ("row 0", "none of PNG")),
    ("image missing", images(None), ("row 0 has no image bytes in column 'img'",)),
    ("image of a number", rewrite(lambda t: t.set_column(0, "img", pa.array([1] * 30))), ("row 0 has no image bytes",)),
    (
        "image of text without bytes",
        rewrite(lambda t: t.set_column(0, "img", pa.array(["x"] * 30))),
        ("no image bytes",),
    ),
    ("decompression bomb", images(picture(30_000, 30_000)), ("row 0", "more than 33,554,432 pixels")),
    ("PostScript", images(POSTSCRIPT), ("row 0", "none of PNG")),
    ("column that expands", repeated, ("expands from", "not read")),
    ("dead link", replaced(lambda p: p.symlink_to("nowhere")), (SHARD, "no parquet file")),
    ("shard that links to itself", replaced(lambda p: p.symlink_to(p.name)), (SHARD, "no parquet file")),
    ("folder called .parquet", replaced(Path.mkdir), ("is a shard missing?",)),
    ("pipe", replaced(os.mkfifo), ("is a shard missing?",)),
    ("nothing", lambda root: None, ("cifar10 was not found under", "cifar-10-python.tar.gz", "CLIPFED_BENCH_DATA")),
    ("folders in a circle", lambda root: (root / "a").symlink_to(root), ("not found under", "in a circle")),
    # class folders
    ("no cats", folder(lambda p: [f.unlink() for f in (p / "cat").iterdir()]), ("no folder for train/cat",)),
    ("one cat too few", cat(lambda p: None), ("6 images of each class", "cat 5")),
    ("foreign folder", folder(lambda p: (p / "cat").rename(p / "cats")), ("no folder for train/cat",)),
    ("cat of text", cat(lambda p: p.write_bytes(b"meow")), ("cat/", "none of PNG")),
    ("cat of gigapixels", cat(lambda p: p.write_bytes(picture(40_000, 40_000))), ("cat/", "more than 33,554,432")),
    ("cat of 31×32", cat(lambda p: p.write_bytes(picture(31, 32))), ("cat/", "31×32", "32×32 was expected")),
    ("dead link to a cat", cat(lambda p: p.symlink_to("nowhere")), ("cat/", "cannot be read (No such")),
    ("link to itself", cat(lambda p: p.symlink_to(p.name)), ("cat/", "symbolic links")),
    ("cat that is a pipe", cat(os.mkfifo), ("cat 5",)),
    ("cat with a foreign ending", cat(lambda p: p.with_suffix(".txt").write_bytes(b"x")), ("cat 5",)),
]
BATCHES: list[tuple[str, Callable[..., None], tuple[str, ...]]] = [
    ("code", official_batches(put("data_batch_1", pickle.dumps(Evil()))), ("data_batch_1", "mkdir is not allowed")),
    ("code in the labels", official_batches(batch(labels=[Evil()])), ("data_batch_1", "mkdir is not allowed")),
    ("code in the data", official_batches(batch(data=np.array([Evil()], dtype=object))), ("is not allowed",)),
    ("code in the archive", official_batches(put("test_batch", pickle.dumps(Evil())), True), ("mkdir is not allowed",)),
    ("eval", official_batches(put("data_batch_1", b"cbuiltins\neval\n(S'1'\ntR.")), ("builtins.eval is not allowed",)),
    ("attribute of a module", official_batches(put("data_batch_1", b"cnumpy\nload\n(S'x'\ntR.")), ("numpy.load",)),
    ("list", official_batches(put("data_batch_1", pickle.dumps([1]))), ("holds a list, not a dictionary",)),
    ("no data", official_batches(batch(data=None)), ("no uint8 array 'data'",)),
    ("data of floats", official_batches(batch(data=np.zeros((12, 3072)))), ("no uint8 array 'data'",)),
    ("data of 28×28", official_batches(batch(data=np.zeros((12, 2352), np.uint8))), ("(12, 2352)", "(12, 3072)")),
    ("labels as an array", official_batches(batch(labels=np.zeros(12))), ("list 'labels'",)),
    ("labels of text", official_batches(batch(labels=["cat"] * 12)), ("the labels are not whole numbers",)),
    ("label too large", official_batches(batch(labels=[10] * 12)), ("label out of range", "0 to 9")),
    ("garbage", official_batches(put("data_batch_1", b"\x80\x04garbage")), ("cannot be unpickled safely",)),
    ("empty", official_batches(put("test_batch", b"")), ("test_batch", "cannot be unpickled safely")),
    ("a batch missing", official_batches(lambda files: files.pop("data_batch_3")), ("without data_batch_3",)),
    ("a batch missing in the archive", official_batches(lambda f: f.pop("test_batch"), True), ("has no test_batch",)),
]


@pytest.mark.parametrize(("id", "damage", "words"), CIFAR, ids=[line[0] for line in CIFAR])
def test_data_sets(id: str, damage: Callable[[Path], None], words: tuple[str, ...], place: Path) -> None:
    damage(place / "data")
    refused(("data", "show", "cifar10"), words, place)


@pytest.mark.parametrize(("id", "damage", "words"), BATCHES, ids=[line[0] for line in BATCHES])
def test_official_batches(
    id: str, damage: Callable[..., None], words: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(place / "data", monkeypatch)
    refused(("data", "show", "cifar10"), words, place)


@pytest.mark.parametrize("name", ["data_batch_1", "cifar-10-python.tar.gz"])
def test_a_wrong_md5_is_not_unpickled(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official_batches(put("data_batch_1", pickle.dumps(Evil())), packed=name.endswith("gz"))(place / "data", monkeypatch)
    path = place / "data" / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    monkeypatch.setattr(official, "unpickle", lambda *a: pytest.fail("unpickled"))
    refused(("data", "show", "cifar10"), (name, "wrong MD5", "not unpickled"), place)


def test_archives_are_never_unpacked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that lead out of the folder, links and devices stay in the archive; the batches are read all the same."""
    entry = official.published("cifar10")
    files = batches(DATA)
    path, escaped = place / "data" / entry.archive, place.parent / "escaped"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in {f"../../{name}": data for name, data in files.items()}.items() | {(str(escaped), b"x")}:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    sums = {s: {n: hashlib.md5(files[n]).hexdigest() for n in entry.batches[s]} for s in ("train", "test")}
    known = replace(entry, md5=hashlib.md5(path.read_bytes()).hexdigest(), size=path.stat().st_size, batches=sums)
    monkeypatch.setattr(official, "published", lambda name: known)
    before = {p for p in place.parent.rglob("*") if p.name != "cache"}
    from clipfed_bench.data.datasets import load_dataset

    assert len(load_dataset("cifar10").train) == 60
    assert {p for p in place.parent.rglob("*") if "cache" not in p.parts} == before
    assert not escaped.exists()


def test_what_is_good_is_shown(place: Path) -> None:
    parquet_folder(place / "data", DATA)
    assert run("data", "show", "cifar10", "--clients", "3", "--min-samples", "1").code == 0
