"""Copies of data sets that are damaged: a message with the file, what is wrong with it, and no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from makers import known_sets as make

from clipfed_bench.core.errors import DataError
from clipfed_bench.data import catalog
from clipfed_bench.data.datasets import load_dataset


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def of(pixels: object, labels: object) -> str:
    return json.dumps({"user_data": {"f1": {"x": pixels, "y": labels}}})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"user_data": {', "truncated or damaged file"),
        ('{"users": []}', "truncated or damaged file .'user_data'"),
        (of([[0.0] * 784], [1, 2]), "1 images, 2 labels, 1 writers"),
        (of([[0.0] * 783], [1]), "truncated or damaged file .*cannot reshape"),
        (of([[0.0] * 783 + [2.0]], [1]), "pixels outside of 0 … 1"),
        (of([[0.0] * 783 + [None]], [1]), "pixels outside of 0 … 1"),
        (of([[0.0] * 784], [62]), r"label out of range in row 0: 62 \(labels go from 0 to 61"),
        (of([[0.0] * 784], ["A"]), "truncated or damaged file"),
        (of([[0.0] * 784], [5]), "the train split of femnist has no image of class zero"),
    ],
)
def test_leaf(content: str, words: str, root: Path) -> None:
    (root / "all_data_0.json").write_text(content)
    with pytest.raises(DataError, match=words) as raised:
        load_dataset("femnist", root)
    assert str(root) in str(raised.value)


def test_characters_in_parquet(root: Path) -> None:
    images, labels, writers = make.characters(3, 5)
    path = root / "hub" / "train.parquet"
    make.femnist_parquet(path, images, labels + 60, writers)
    with pytest.raises(DataError, match="label out of range"):
        load_dataset("femnist", root)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"train.parquet: truncated or no parquet file"):
        load_dataset("femnist", root)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("Filename;Width\n00000.ppm;32\n", "no list of test images .'ClassId'"),
        ("Filename;ClassId\n00000.ppm;x\n", "no list of test images .invalid literal"),
        ("Filename;ClassId\n../00099.ppm;0\n", "the image 00099.ppm is nowhere"),
        ("Filename;ClassId\n00000.ppm;0\n", "1 test images and not 43; of class 1 .speed limit 30. 0 and not 1"),
    ],
)
def test_lists_of_signs(table: str, words: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "gtsrb", 1, 1)
    make.signs(root / "GTSRB", make.parts("gtsrb"))
    (root / "GTSRB" / "GT-final_test.csv").write_text(table)
    with pytest.raises(DataError, match=words):
        load_dataset("gtsrb", root)


def test_signs_without_any_list(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "gtsrb", 1, 1)
    make.signs(root / "GTSRB", make.parts("gtsrb"))
    (root / "GTSRB" / "GT-final_test.csv").unlink()
    with pytest.raises(DataError, match=r"training images, but nowhere a list GT-final_test\.csv or Test\.csv"):
        load_dataset("gtsrb", root)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("val_0.JPEG n01443537\n", "no list of images and classes"),
        (b"\xff\xfe\t\n", "no list of images and classes"),
        ("val_0.JPEG\tn01443537\n", "0 train images and not 300; of class n01443537 .goldfish. 0 and not 1"),
    ],
)
def test_lists_of_tiny_imagenet(table: str | bytes, words: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "tiny-imagenet", 1, 1)
    (root / "val").mkdir()
    (root / "val" / "val_annotations.txt").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(DataError, match=words):
        load_dataset("tiny-imagenet", root)


def test_what_is_no_idx_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of images where labels should be, and packed where it says so but is not."""
    make.small(monkeypatch, "mnist", 2, 1)
    make.idx(root / "raw", {"train": "train", "test": "t10k"}, make.parts("mnist"))
    labels = root / "raw" / "t10k-labels-idx1-ubyte"
    whole = labels.read_bytes()
    for content in ((root / "raw" / "t10k-images-idx3-ubyte").read_bytes(), b"", whole[:6]):
        labels.write_bytes(content)
        with pytest.raises(DataError, match="truncated or no idx file of labels"):
            load_dataset("mnist", root)
    labels.unlink()
    labels.with_suffix(".gz").write_bytes(whole)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz: truncated or no idx file of labels"):
        load_dataset("mnist", root)


def test_a_class_more_than_there_are(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another data set, as it has other numbers."""
    make.small(monkeypatch, "mnist", 2, 1)
    data = make.parts("mnist")
    images, labels = data["train"]
    make.idx(root / "raw", {"train": "train", "test": "t10k"}, data | {"train": (images, np.where(labels, labels, 10))})
    with pytest.raises(DataError, match="idx files of another data set"):
        load_dataset("mnist", root)
    assert len(catalog.info("mnist").classes) == 10
