"""Small copies of the data sets that come in files, each as its authors publish it."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from clipfed_bench.data import catalog
from makers.data_files import png

Part = tuple[np.ndarray, np.ndarray]


def small(monkeypatch: pytest.MonkeyPatch, name: str, train: int, test: int) -> None:
    """Data set ``name`` has so many images of each class from now on, every other one more of ``train``."""
    known = catalog.info(name)
    uneven = tuple(train + i % 2 for i, _ in enumerate(known.classes))
    even = (test,) * len(known.classes)
    monkeypatch.setitem(catalog.originals(), name, replace(known, train=uneven, test=even, mean=None))


def parts(name: str, seed: int = 0) -> dict[str, Part]:
    """Split -> uint8 (N, C, S, S) and shuffled labels, of the numbers that ``name`` has."""
    known, draw = catalog.info(name), np.random.default_rng(seed)
    found = {}
    for split in ("train", "test"):
        labels = draw.permutation(np.repeat(np.arange(len(known.classes)), known.counts(split)))
        shade = (labels * 255 // len(known.classes))[:, None, None, None]
        channels, side, _ = known.image_shape
        noise = draw.integers(0, 256, (len(labels), channels, side // 4, side // 4)).repeat(4, axis=2).repeat(4, axis=3)
        found[split] = (((shade + noise) // 2).astype(np.uint8), labels)
    return found


def idx(folder: Path, names: dict[str, str], data: dict[str, Part], packed: bool = False) -> None:
    """Four idx files, of split -> the beginning of their names."""
    folder.mkdir(parents=True)
    for split, (images, labels) in data.items():
        kinds = (("images-idx3-ubyte", images[:, 0]), ("labels-idx1-ubyte", labels))
        for kind, array in kinds:
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            content = header + array.astype(np.uint8).tobytes()
            path = folder / f"{names[split]}-{kind}{'.gz' * packed}"
            path.write_bytes(gzip.compress(content, 1) if packed else content)


def mat(folder: Path, data: dict[str, Part]) -> None:
    """SVHN's two files: images last, and 10 for the digit zero."""
    folder.mkdir()
    for split, (images, labels) in data.items():
        tens = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": tens})


def signs(folder: Path, data: dict[str, Part]) -> None:
    """GTSRB's final sets: each image surrounded by 3 pixels above and below, so that it is no square."""
    tested = folder / "Final_Test" / "Images"
    tested.mkdir(parents=True)
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for split, (images, labels) in data.items():
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tested / f"{i:05}.ppm"
            if split == "train":
                path = folder / "Final_Training" / "Images" / f"{label:05}" / f"00000_{i:05}.ppm"
                path.parent.mkdir(parents=True, exist_ok=True)
            else:
                rows.append(f"{path.name};32;38;0;0;31;37;{label}")
            Image.fromarray(np.pad(image.transpose(1, 2, 0), ((3, 3), (0, 0), (0, 0)))).save(path)
    (folder / "GT-final_test.csv").write_text("\n".join(rows) + "\n")


def tiny(folder: Path, data: dict[str, Part], ids: tuple[str, ...]) -> None:
    """Tiny-ImageNet: class folders to train on, a list for the validation images; both without loss here."""
    rows = []
    (folder / "val" / "images").mkdir(parents=True)
    for split, (images, labels) in data.items():
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / "val" / "images" / f"val_{i}.JPEG"
            if split == "train":
                path = folder / "train" / ids[label] / "images" / f"{ids[label]}_{i}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
            else:
                rows.append(f"{path.name}\t{ids[label]}\t0\t0\t63\t63")
            path.write_bytes(png(image))
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")


def characters(writers: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """FEMNIST: images (N, 28, 28), labels of all 62 characters, and the writer of each; writers differ in how much."""
    draw = np.random.default_rng(seed)
    names = [f"f{i:04}_{i % 7:02}" for i in range(writers) for _ in range(each + i)]
    labels = draw.permutation(np.arange(len(names)) % 62)
    return draw.integers(0, 256, (len(names), 28, 28)).astype(np.uint8), labels, names


def femnist_parquet(path: Path, images: np.ndarray, labels: np.ndarray, writers: list[str]) -> None:
    """As the hub has it."""
    path.parent.mkdir(parents=True)
    encoded = [{"bytes": png(image[None].repeat(3, axis=0)), "path": None} for image in images]
    columns = {"image": encoded, "writer_id": writers, "hsf_id": [0] * len(writers), "character": labels.tolist()}
    pq.write_table(pa.table(columns), path)


def femnist_leaf(folder: Path, images: np.ndarray, labels: np.ndarray, writers: list[str]) -> None:
    """As LEAF writes it, in two files of users."""
    folder.mkdir(parents=True)
    users = sorted(set(writers))
    for k in (0, 1):
        data = {
            user: {"x": (images[rows].reshape(-1, 784) / 255).tolist(), "y": labels[rows].tolist()}
            for user in users[k::2]
            for rows in [[i for i, writer in enumerate(writers) if writer == user]]
        }
        (folder / f"all_data_{k}.json").write_text(json.dumps({"users": list(data), "user_data": data}))
