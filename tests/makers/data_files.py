"""Small data sets in every form that the sources read; used by the data tests."""

import io
import json
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN, TEST = 6, 2


def arrays(seed=0, side=32):
    """Split -> (images (N, 3, side, side), labels), shuffled: 6 and 2 images a class."""
    rng = np.random.default_rng(seed)
    out = {}
    for split, each in (("train", TRAIN), ("test", TEST)):
        labels = rng.permutation(np.repeat(np.arange(10), each))
        out[split] = (rng.integers(0, 256, (len(labels), 3, side, side), dtype=np.uint8), labels)
    return out


def png(image):
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def picture(width: int, height: int, data: bytes = b"", depth: int = 8, kind: int = 2) -> bytes:
    """A PNG that says it is of that size, of ``depth`` bits; kinds are 2 RGB, 4 gray with alpha, 6 RGBA."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def write_parquet(path, images, labels, names=CLASSES, image="img", label="label", captions=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {image: [{"bytes": png(i), "path": None} for i in images], label: list(map(int, labels))}
    if captions is not None:
        columns["caption"] = captions
    table = pa.table(columns)
    if names is not None:
        features = {label: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def parquet_folder(folder, data, shards=2, **options):
    for split, (images, labels) in data.items():
        for k in range(shards):
            name = f"{split}-{k:05}-of-{shards:05}.parquet"
            write_parquet(folder / name, images[k::shards], labels[k::shards], **options)


def class_folders(folder, images, labels, names=CLASSES):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / names[label] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))


def batches(data):
    """File name -> pickle, as the official CIFAR-10 archive has them."""
    images, labels = data["train"]
    parts = {f"data_batch_{k + 1}": (images[k::5], labels[k::5]) for k in range(5)} | {"test_batch": data["test"]}
    return {
        name: pickle.dumps({"data": i.reshape(len(i), -1), "labels": labels.tolist(), "batch_label": name}, protocol=4)
        for name, (i, labels) in parts.items()
    }


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
