"""CIFAR from every kind of source, and what is said when it is damaged."""

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from makers.data_files import CLASSES, arrays, batches, class_folders, parquet_folder, png, write_archive, write_parquet

from clipfed_bench.core.errors import DataError
from clipfed_bench.data import catalog
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.formats import official


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """CIFAR-10 has 6 + 2 images a class, nothing is downloaded, and the cache is empty."""
    known = replace(catalog.originals()["cifar10"], train=(6,) * 10, test=(2,) * 10, mean=None)
    monkeypatch.setitem(catalog.originals(), "cifar10", known)
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLIPFED_BENCH_DATA", raising=False)

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", no_network)
    monkeypatch.setattr("clipfed_bench.data.formats.find.reachable", lambda url: True)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def set_md5(monkeypatch, files, archive=None):
    """The MD5 table of the small batches and archive."""

    def table(split):
        return {name: hashlib.md5(files[name]).hexdigest() for name in official.published("cifar10").batches[split]}

    entry = replace(official.published("cifar10"), batches={split: table(split) for split in ("train", "test")})
    if archive:
        content = archive.read_bytes()
        entry = replace(entry, md5=hashlib.md5(content).hexdigest(), size=len(content))
    monkeypatch.setattr(official, "published", lambda name: entry)


def as_set(images, labels):
    return sorted((np.asarray(i).tobytes(), int(label)) for i, label in zip(images, labels, strict=True))


def make(kind, root, monkeypatch):
    data = arrays()
    if kind == "parquet":
        parquet_folder(root / "some" / "where", data)
    elif kind == "parquet image column, split folders":
        for split, (images, labels) in data.items():
            write_parquet(root / "plain_text" / split / "0000.parquet", images, labels, image="image")
    elif kind == "parquet without names":
        parquet_folder(root, data, names=None)
    elif kind == "official batches":
        files = batches(data)
        set_md5(monkeypatch, files)
        (root / "cifar-10-batches-py").mkdir()
        for name, content in files.items():
            (root / "cifar-10-batches-py" / name).write_bytes(content)
    elif kind == "official archive":
        write_archive(root / "cifar-10-python.tar.gz", batches(data))
        set_md5(monkeypatch, batches(data), root / "cifar-10-python.tar.gz")
    else:
        for split, (images, labels) in data.items():
            class_folders(root / "images" / split, images, labels)
    return data


KINDS = ["parquet", "parquet image column, split folders", "parquet without names", "official batches",
         "official archive", "class folders"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_the_same_data_set(kind, root, monkeypatch, tmp_path):
    data = make(kind, root, monkeypatch)
    loaded = load_dataset("cifar10", root)
    for split, part in (("train", loaded.train), ("test", loaded.test)):
        assert as_set(part.images.numpy(), part.labels) == as_set(*data[split])
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
    pixels = data["train"][0] / 255
    assert loaded.mean == pytest.approx(pixels.mean(axis=(0, 2, 3)))
    assert loaded.std == pytest.approx(pixels.std(axis=(0, 2, 3)))
    assert loaded.discarded is None
    reference = tmp_path / "reference"
    parquet_folder(reference, data, shards=1)
    other = load_dataset("cifar10", reference)
    assert torch.equal(loaded.train.images, other.train.images)  # order too
    assert loaded.source.split()[-1] == other.source.split()[-1]
    assert loaded.source.startswith(kind.split(" image")[0].split(" without")[0])


def test_long_tail_keeps_a_fixed_subset(root):
    parquet_folder(root, arrays())
    whole, tail, steep = (
        load_dataset(*a) for a in (("cifar10", root), ("cifar10-lt", root, 3.0), ("cifar10-lt", root, 6))
    )
    assert tail.train.labels.bincount().tolist() == [int(6 * 3 ** (-c / 9)) for c in range(10)]
    assert steep.train.labels.bincount().tolist()[-1] == 1
    kept, cut = as_set(tail.train.images, tail.train.labels), as_set(tail.discarded.images, tail.discarded.labels)
    assert sorted(kept + cut) == as_set(whole.train.images, whole.train.labels)
    assert set(as_set(steep.train.images, steep.train.labels)) <= set(kept)
    assert torch.equal(tail.test.images, whole.test.images)
    assert (tail.mean, tail.std) == (whole.mean, whole.std)


def test_generated_images_beside_it_are_left_alone(root):
    data = arrays()
    write_parquet(root / "a" / "train-00000-of-00001.parquet", *arrays(7)["train"])
    parquet_folder(root / "b-generated", arrays(8))
    parquet_folder(root / "c", data)
    train = load_dataset("cifar10", root).train
    assert as_set(train.images, train.labels) == as_set(*data["train"])


def test_a_generated_set_of_the_right_size_is_told_by_its_pixels(root, monkeypatch):
    real = replace(catalog.info("cifar10"), mean=(0.4914, 0.4822, 0.4465))
    monkeypatch.setitem(catalog.originals(), "cifar10", real)
    parquet_folder(root, arrays())
    with pytest.raises(DataError, match=r"mean\s+color.*0\.4914.*generated"):
        load_dataset("cifar10", root)


def test_decoded_once_and_again_when_the_source_or_the_cache_changes(root, monkeypatch, tmp_path):
    parquet_folder(root, arrays(), shards=1)
    first = load_dataset("cifar10", root)
    with monkeypatch.context() as patch:
        patch.setattr("clipfed_bench.data.formats.parquet.read", lambda *a: pytest.fail("decoded again"))
        assert torch.equal(load_dataset("cifar10", root).train.images, first.train.images)
    (file,) = (tmp_path / "cache" / "arrays").iterdir()
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], b"", content[:5000] + b"\xff" * 64 + content[5064:]):
        file.write_bytes(damaged)
        assert torch.equal(load_dataset("cifar10", root).train.images, first.train.images)
        assert file.read_bytes()[:4] == content[:4]
    parquet_folder(root, arrays(5), shards=1)
    assert not torch.equal(load_dataset("cifar10", root).train.images, first.train.images)


def test_nothing_there_says_what_was_looked_for_and_where(root):
    write_parquet(root / "other" / "train.parquet", *arrays()["train"], names=[f"x{c}" for c in CLASSES])
    with pytest.raises(DataError) as error:
        load_dataset("cifar10", root)
    for text in (str(root), "parquet", "cifar-10-python.tar.gz", "data_batch_1", "train/airplane/*.png", "no network",
                 "CLIPFED_BENCH_DATA", str(root / "other")):  # fmt: skip
        assert text in str(error.value)


def shard(root):
    return root / "train-00000-of-00002.parquet"


def cut_short(root, data):
    shard(root).write_bytes(shard(root).read_bytes()[:-100])


def one_shard_missing(root, data):
    shard(root).unlink()


def class_missing(root, data):
    images, labels = data["train"]
    parquet_folder(root, {"train": (images, np.where(labels == 3, 5, labels))})


def class_doubled(root, data):
    images, labels = data["train"]
    swapped = labels.copy()
    swapped[np.flatnonzero(labels == 3)[0]] = 5
    parquet_folder(root, {"train": (images, swapped)})


def label_out_of_range(root, data):
    images, labels = data["train"]
    parquet_folder(root, {"train": (images, np.where(labels == 3, 10, labels))})


def wrong_size(root, data):
    parquet_folder(root, {"train": (arrays(side=28)["train"][0], data["train"][1])})


def broken_image(root, data):
    path = shard(root)
    good, bad = png(data["train"][0][0]), png(data["train"][0][0])[:-1500]
    path.write_bytes(path.read_bytes())
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    cells = [{"bytes": good if i != 4 else bad, "path": None} for i in range(len(table))]
    import pyarrow as pa

    pq.write_table(table.set_column(0, "img", pa.array(cells)), path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_short, ["train-00000-of-00002.parquet", "truncated"]),
        (one_shard_missing, ["30 train", "60 train", "shard missing"]),
        (class_missing, ["train", "no image of class cat"]),
        (class_doubled, ["6 images of each class", "cat 5", "dog 7"]),
        (label_out_of_range, ["label out of range", "10", "0 to 9"]),
        (wrong_size, ["28×28", "32×32", "row 0"]),
        (broken_image, ["row 4", "cannot be decoded"]),
    ],
)
def test_damaged_parquet(damage, words, root):
    data = arrays()
    parquet_folder(root, data)
    damage(root, data)
    with pytest.raises(DataError) as error:
        load_dataset("cifar10", root)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_class_folder_missing(root, monkeypatch):
    make("class folders", root, monkeypatch)
    (root / "images" / "train" / "cat").rename(root / "images" / "train" / ".cat")
    with pytest.raises(DataError, match="no folder for train/cat"):
        load_dataset("cifar10", root)


def test_foreign_class_folder(root, monkeypatch):
    make("class folders", root, monkeypatch)
    (root / "images" / "train" / "cat").rename(root / "images" / "train" / "cat_")
    (root / "images" / "train" / "trucks").mkdir()
    (root / "images" / "train" / "trucks" / "0.png").write_bytes(png(arrays()["train"][0][0]))
    with pytest.raises(DataError, match=r"'trucks' is no class.*Did you mean 'truck'"):
        load_dataset("cifar10", root)


def test_truncated_archive_and_wrong_md5(root, monkeypatch):
    make("official archive", root, monkeypatch)
    path = root / "cifar-10-python.tar.gz"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(DataError, match="truncated"):
        load_dataset("cifar10", root)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match="wrong MD5"):
        load_dataset("cifar10", root)


def test_wrong_md5_is_never_unpickled(root, monkeypatch):
    make("official batches", root, monkeypatch)
    monkeypatch.setattr(official, "unpickle", lambda *a: pytest.fail("unpickled"))
    batch = root / "cifar-10-batches-py" / "data_batch_1"
    batch.write_bytes(batch.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"data_batch_1: wrong MD5 \w+, expected"):
        load_dataset("cifar10", root)


def test_missing_batch(root, monkeypatch):
    make("official batches", root, monkeypatch)
    (root / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="without data_batch_3"):
        load_dataset("cifar10", root)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("payload", [Evil(), {"data": Evil()}, np.array([Evil()], dtype=object)])
def test_unpickler_runs_no_code(payload, capsys):
    with pytest.raises(DataError, match="not allowed"):
        official.unpickle(pickle.dumps(payload, protocol=4), "here")
    assert capsys.readouterr().out == ""


def test_unpickler_reads_what_python_2_wrote():
    """The official batches are protocol 2, with numpy's old module names and byte strings as keys."""
    data = (
        b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87"
        b"R(K\x01K\x03\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x03\x01\x02\xfetbU\x06labelsq\x04]q\x05(K\x07K\x08eu."
    )
    batch = official.unpickle(data, "here")
    assert batch["data"].tolist() == [1, 2, 254]
    assert batch["labels"] == [7, 8]


def test_damaged_pickle_and_no_dictionary():
    for content in (b"\x80\x04garbage", pickle.dumps([1, 2])):
        with pytest.raises(DataError, match="here"):
            official.unpickle(content, "here")


def test_download_goes_to_the_data_folder_and_is_read(root, monkeypatch, tmp_path):
    source = tmp_path / "elsewhere.tar.gz"
    write_archive(source, batches(arrays()))
    set_md5(monkeypatch, batches(arrays()), source)
    asked = []

    def download(url, folder, filename, md5):
        asked.append((url, md5))
        (folder / filename).write_bytes(source.read_bytes())

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    loaded = load_dataset("cifar10", root)
    assert as_set(loaded.test.images, loaded.test.labels) == as_set(*arrays()["test"])
    assert asked == [(official.published("cifar10").url, official.published("cifar10").md5)]
