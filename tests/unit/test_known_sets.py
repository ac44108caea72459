"""The data sets that come in files: each read as it is published, told from its like, and divided."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from makers import known_sets as make
from makers.data_files import class_folders, parquet_folder

from clipfed_bench.core.errors import AbsentError, DataError, UserError
from clipfed_bench.core.splits import Split
from clipfed_bench.data import catalog
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.formats.find import locate
from clipfed_bench.data.formats.written import divided
from clipfed_bench.data.info import describe
from clipfed_bench.data.partition import partition
from clipfed_bench.toolbox.images import Images

DIGITS = {"train": "train", "test": "t10k"}
STORED = sorted(name for name, known in catalog.originals().items() if known.stored)
FETCHED = ("cifar10", "cifar100")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, and a cache beside it; nothing is downloaded."""
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("clipfed_bench.data.formats.find.reachable", lambda url: False)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def pairs(images: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
    """What is compared: the images with their labels, in an order of their own."""
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def loaded(split: Images) -> list[tuple[bytes, int]]:
    return pairs(split.images.contiguous().numpy(), split.labels.numpy())


def same(name: str, root: Path, data: dict[str, make.Part]) -> str:
    """Check that ``name`` is read as ``data``, whole and with a long tail; its source."""
    found = load_dataset(name, root)
    assert loaded(found.train) == pairs(*data["train"])
    assert loaded(found.test) == pairs(*data["test"])
    tail = load_dataset(f"{name}-lt", root, 2)
    assert len(tail.train) + len(tail.discarded) == len(found.train)
    assert 0 < len(tail.train) < len(found.train)
    return found.source


def test_what_ships() -> None:
    expected = {
        "cifar10": (3, 32, 10, 50_000, 10_000),
        "cifar100": (3, 32, 100, 50_000, 10_000),
        "cinic10": (3, 32, 10, 90_000, 90_000),
        "digits": (3, 32, 10, 1347, 450),
        "emnist": (1, 28, 47, 112_800, 18_800),
        "fashion-mnist": (1, 28, 10, 60_000, 10_000),
        "gtsrb": (3, 32, 43, 39_209, 12_630),
        "mnist": (1, 28, 10, 60_000, 10_000),
        "svhn": (3, 32, 10, 73_257, 26_032),
        "tiny-imagenet": (3, 64, 200, 100_000, 10_000),
    }
    found = {
        name: (*i.image_shape[:2], len(i.classes), i.rows("train"), i.rows("test"))
        for name, i in catalog.originals().items()
        if name in expected
    }
    assert found == expected
    femnist = catalog.info("femnist")
    assert (femnist.writers, len(femnist.classes)) == (3597, 62)
    assert abs(femnist.rows("train") + femnist.rows("test") - 814_277) < 100


@pytest.mark.parametrize("name", [name for name in STORED if name not in FETCHED])
def test_what_is_absent_is_said_with_where_to_get_it(name: str, root: Path) -> None:
    with pytest.raises(DataError, match=r"is not downloaded by itself\. Get") as raised:
        load_dataset(f"{name}-lt", root)
    assert f"{name} was not found under {root}. Looked for:\n  - " in str(raised.value)


@pytest.mark.parametrize(
    ("name", "files"), [("mnist", DIGITS), ("emnist", {s: f"emnist-balanced-{s}" for s in ("train", "test")})]
)
def test_idx_files(name: str, files: dict[str, str], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EMNIST's are transposed; both as they are downloaded and unpacked."""
    make.small(monkeypatch, name, 4, 2)
    data = make.parts(name)
    stored = {s: (i.swapaxes(2, 3) if name == "emnist" else i, labels) for s, (i, labels) in data.items()}
    make.idx(root / "raw", files, stored, packed=True)
    source = same(name, root, data)
    (root / "raw").rename(root.parent / "packed")
    make.idx(root / "raw", files, stored)
    assert same(name, root, data) == source
    assert source.startswith("idx files, sha256")


def test_forms_of_mnist_are_one_data_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "mnist", 4, 2)
    data, names = make.parts("mnist"), tuple("0123456789")
    colored = {split: (images.repeat(3, axis=1), labels) for split, (images, labels) in data.items()}
    make.idx(root / "idx", DIGITS, data)
    parquet_folder(root / "hub", colored, names=names, image="image")
    for split, part in colored.items():
        class_folders(root / "folders" / split, *part, names=names)
    hashes = {same("mnist", root / form, data).partition(", ")[2] for form in ("idx", "hub", "folders")}
    assert len(hashes) == 1


def test_files_of_the_same_names_are_told_by_their_numbers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, train in (("mnist", 4), ("fashion-mnist", 6)):
        make.small(monkeypatch, name, train, 2)
        make.idx(root / name / "raw", DIGITS, make.parts(name))
    for name in ("mnist", "fashion-mnist"):
        same(name, root, make.parts(name))
    make.small(monkeypatch, "mnist", 5, 2)
    with pytest.raises(DataError, match=r"idx files of another data set \(65 train, 20 test images\)"):
        load_dataset("mnist", root)


def test_what_is_there_though_nothing_fits_is_said_before_a_grid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "mnist", 4, 2)
    make.idx(root / "raw", DIGITS, make.parts("mnist"))
    assert locate(catalog.info("mnist"), root)
    (root / "raw" / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(AbsentError, match=f"Seen there: {root}/raw: idx files without t10k-images-idx3-ubyte"):
        locate(catalog.info("mnist"), root)


def test_class_folders_are_counted_before_a_grid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "mnist", 4, 2)
    for split, (images, labels) in make.parts("mnist").items():
        class_folders(root / "own" / split, images.repeat(3, axis=1), labels, names=tuple("0123456789"))
    assert locate(catalog.info("mnist"), root)
    next((root / "own" / "test" / "3").iterdir()).unlink()
    with pytest.raises(DataError, match="the test split of mnist must hold 2 images of each class; it holds three 1"):
        locate(catalog.info("mnist"), root)


@pytest.mark.parametrize("form", ["folders", "hub"])
def test_cinic_beside_cifar(form: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have the same classes; the larger one is no damaged copy of the other."""
    for name, train in (("cifar10", 4), ("cinic10", 6)):
        make.small(monkeypatch, name, train, 2)
        data, names = make.parts(name), catalog.info(name).classes
        if form == "hub":
            parquet_folder(root / name, data, names=names)
        else:
            for split in data:
                class_folders(root / name / split, *data[split], names=names)
    for name in ("cifar10", "cinic10"):
        same(name, root, make.parts(name))


def test_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    make.small(monkeypatch, "svhn", 3, 2)
    data = make.parts("svhn")
    make.mat(root / "svhn", data)
    with pytest.raises(DataError, match=r"train_32x32.mat: damaged \(its MD5 is .* and not e26dedcc"):
        load_dataset("svhn", root)
    for split in data:
        md5 = hashlib.md5((root / "svhn" / f"{split}_32x32.mat").read_bytes()).hexdigest()
        monkeypatch.setitem(SVHN.split_list, split, [*SVHN.split_list[split][:2], md5])
    same("svhn", root, data)
    (root / "svhn" / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"train_32x32.mat without test_32x32.mat\nMend or remove it"):
        load_dataset("svhn", root)


def test_gtsrb(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Central squares of images that are none, in Portable Pixmaps, and a list of the test images."""
    make.small(monkeypatch, "gtsrb", 2, 1)
    data = make.parts("gtsrb")
    make.signs(root / "GTSRB", data)
    same("gtsrb", root, data)
    next((root / "GTSRB" / "Final_Training" / "Images" / "00007").iterdir()).unlink()
    words = r"106 train images and not 107; of class 7 \(speed limit 100\) 2 and not 3"
    with pytest.raises(DataError, match=words):
        load_dataset("gtsrb", root)
    (root / "GTSRB" / "Final_Test" / "Images" / "00003.ppm").unlink()
    with pytest.raises(DataError, match=r"GT-final_test.csv: no list of test images \(the image 00003.ppm is nowhere"):
        load_dataset("gtsrb", root)


def test_tiny_imagenet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "tiny-imagenet", 1, 1)
    known, data = catalog.info("tiny-imagenet"), make.parts("tiny-imagenet")
    make.tiny(root / "tiny-imagenet-200", data, known.aliases)
    same("tiny-imagenet", root, data)
    assert known.classes[known.aliases.index("n02124075")] == "Egyptian cat"
    assert list(known.aliases) == sorted(known.aliases)
    (root / "tiny-imagenet-200" / "val" / "images" / "val_3.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"val_3.JPEG: the image cannot be decoded"):
        load_dataset("tiny-imagenet", root)


def test_femnist_from_the_hub_and_from_leaf(root: Path) -> None:
    images, labels, writers = make.characters(6, 20)
    make.femnist_parquet(root / "hub" / "train-00000.parquet", images, labels, writers)
    make.femnist_leaf(root / "leaf", images, labels, writers)
    hub, leaf = (load_dataset("femnist", root / form) for form in ("hub", "leaf"))
    assert hub.source.partition(", ")[2] == leaf.source.partition(", ")[2]
    assert sorted(loaded(hub.train) + loaded(hub.test)) == pairs(images, labels)
    assert np.bincount(hub.train.writers).tolist() == [n - n // 10 for n in range(20, 26)]
    by_image = dict(zip((image.tobytes() for image in images), writers, strict=True))
    names = [by_image[image.tobytes()] for image in hub.train.images.contiguous().numpy()]
    assert len(set(zip(names, hub.train.writers.tolist(), strict=True))) == 6


def test_a_tenth_of_each_writer_is_for_testing() -> None:
    """Whatever the order of the images, and nothing of who has fewer than ten."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (60, 1, 28, 28)).astype(np.uint8)
    writers = np.repeat([5, 1, 9], [9, 31, 20])
    whole = Split(images, np.zeros(60, dtype=np.int64), None, writers)
    found = divided(whole)
    assert np.bincount(found["test"].writers, minlength=10).tolist() == [0, 3, 0, 0, 0, 0, 0, 0, 0, 2]
    again = divided(whole.take(draw.permutation(60)))
    assert pairs(again["test"].images, again["test"].writers) == pairs(found["test"].images, found["test"].writers)


def test_what_leaf_has_split_is_one_data_set(root: Path, tmp_path: Path) -> None:
    images, labels, writers = make.characters(12, 11)
    for split, part in (("train", slice(0, 100)), ("test", slice(100, None))):
        make.femnist_leaf(root / "leaf" / split, images[part], labels[part], writers[part])
    make.femnist_leaf(tmp_path / "whole", images, labels, writers)
    found, whole = load_dataset("femnist", root), load_dataset("femnist", tmp_path / "whole")
    assert loaded(found.train) == loaded(whole.train)
    assert loaded(found.test) == loaded(whole.test)


def test_the_writers_of_femnist_are_its_clients(root: Path) -> None:
    """Every image to exactly one client, and each client's images are all that one writer has."""
    make.femnist_leaf(root / "leaf", *make.characters(12, 11))
    train = load_dataset("femnist", root).train
    shares = partition(train.labels, 62, 12, "natural", min_samples=1, writers=train.writers)
    assert sorted(i for share in shares for i in share.tolist()) == list(range(len(train)))
    owners = [set(train.writers[share].tolist()) for share in shares]
    assert sorted(owner for (owner,) in owners) == list(range(12))
    few = partition(train.labels, 62, 5, "natural", min_samples=1, writers=train.writers)
    assert sorted(w for share in few for w in set(train.writers[share].tolist())) == list(range(12))
    with pytest.raises(UserError, match="at most 12 clients"):
        partition(train.labels, 62, 13, "natural", min_samples=1, writers=train.writers)


def test_damaged_copies_say_what_is_wrong(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "mnist", 4, 2)
    make.idx(root / "raw", DIGITS, make.parts("mnist"))
    labels, images = (root / "raw" / f"train-{kind}-ubyte" for kind in ("labels-idx1", "images-idx3"))
    whole = images.read_bytes()
    images.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: truncated or no idx file"):
        load_dataset("mnist", root)
    images.write_bytes(whole)
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: truncated or no idx .*44 labels and not 45"):
        load_dataset("mnist", root)
    labels.unlink()
    with pytest.raises(DataError, match="idx files without train-labels-idx1-ubyte"):
        load_dataset("mnist", root)


def test_pixels_tell_what_numbers_do_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other data sets have Fashion-MNIST's names and numbers, too."""
    make.small(monkeypatch, "fashion-mnist", 4, 2)
    known = replace(catalog.info("fashion-mnist"), mean=(0.2860,))
    monkeypatch.setitem(catalog.originals(), "fashion-mnist", known)
    make.idx(root / "raw", DIGITS, make.parts("fashion-mnist"))
    with pytest.raises(DataError, match=r"mean color is \(0\.\d+\), \(0\.2860\) was expected"):
        load_dataset("fashion-mnist", root)


STRANGERS = '''"""Mine: two shades."""

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.data.formats import folders, parquet


class Mine(DataSource):
    classes = ("dark", "light")
    image_shape = (1, 16, 16)
    train_per_class = (4, 5)
    test_per_class = 2
    aliases = ("D", "L")
    forms = (parquet.form(), folders.FORM)
    obtain = "Ask me."
'''


def test_a_strangers_in_files(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strangers_mine.py").write_text(STRANGERS)
    monkeypatch.syspath_prepend(tmp_path)
    known = describe("mine", "strangers_mine", str(tmp_path / "strangers_mine.py"))
    monkeypatch.setitem(catalog.originals(), "mine", known)
    assert (known.stored, known.server_data, known.aliases) == (True, "mine-generated", ("D", "L"))
    with pytest.raises(
        DataError, match=r"mine was not found under .*\n(.*\n)*And it is not downloaded by itself\. Ask me\."
    ):
        load_dataset("mine", root)
    data = make.parts("mine")
    for split, (images, labels) in data.items():
        class_folders(root / "shades" / split, images.repeat(3, axis=1), labels, names=("D", "L"))
    same("mine", root, data)
