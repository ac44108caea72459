"""Data folders as they are: links, circles, the hub's cache, several copies, what `datasets` saves, cut long tails."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from makers.data_files import CLASSES, arrays, class_folders, parquet_folder, png, write_parquet

from clipfed_bench.core.errors import DataError
from clipfed_bench.core.notices import shown_by
from clipfed_bench.data import catalog
from clipfed_bench.data.arrays import long_tail
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.formats.search import walk
from clipfed_bench.data.server_set.load import load_server_data

KNOWN = replace(catalog.originals()["cifar10"], train=(6,) * 10, test=(2,) * 10, mean=None)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setitem(catalog.originals(), "cifar10", KNOWN)
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", no_network)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def said():
    found = []
    with shown_by(found.append):
        yield found


def digest(seed=0):
    """What :func:`digest_of` gives for ``arrays(seed)``."""
    return sorted(image.tobytes() for image in arrays(seed)["train"][0])


def digest_of(images):
    return sorted(image.numpy().tobytes() for image in images)


def read(root):
    return digest_of(load_dataset("cifar10", root).train.images)


def test_folders_behind_links_are_searched(root, tmp_path, said):
    parquet_folder(tmp_path / "scratch" / "a", arrays())
    class_folders(tmp_path / "scratch" / "b", *arrays(3)["train"])
    (root / "cifar10").symlink_to(tmp_path / "scratch" / "a")
    (root / "generated").mkdir()
    for folder in (tmp_path / "scratch" / "b").iterdir():
        (root / "generated" / folder.name).symlink_to(folder)
    assert read(root) == digest()
    server = load_server_data("cifar10-generated", load_dataset("cifar10", root), root)
    assert digest_of(server.data.images) == digest(3)
    assert said == []


def test_circles_are_noticed_and_nothing_is_searched_twice(root, tmp_path, said):
    parquet_folder(root / "b", arrays())
    (root / "b" / "up").symlink_to(root)
    (root / "home").symlink_to(tmp_path)
    (root / "a").symlink_to(root / "b")
    (root / "b" / "itself").symlink_to(root / "b" / "itself")
    (root / "b" / "more").mkdir()
    (root / "b" / "more" / "back").symlink_to(root / "b")
    seen = []
    assert [path.parent.name for path in walk(root, seen) if path.suffix == ".parquet"] == ["a"] * 4
    assert seen == [f"{root / name}: a link that leads in a circle" for name in ("home", "a/up")]
    assert read(root) == digest()
    assert said == []
    with pytest.raises(DataError, match="home: a link that leads in a circle"):
        load_server_data("cifar10-generated", load_dataset("cifar10", root), root)


def test_the_cache_of_the_hub_is_read_and_its_revisions_are_one_where_they_are_alike(root, said):
    hub = root / "hub" / "datasets--x--cifar10"
    parquet_folder(hub / "blobs", arrays())
    for revision in ("aaa", "bbb"):
        folder = hub / "snapshots" / revision / "plain_text"
        folder.mkdir(parents=True)
        for k, blob in enumerate(sorted((hub / "blobs").glob("*.parquet"))):
            (folder / blob.name).symlink_to(f"../../../blobs/{k}")
    for k, blob in enumerate(sorted((hub / "blobs").glob("*.parquet"))):
        blob.rename(blob.with_name(f"{k}"))
    assert read(root) == digest()
    assert said == []


def test_of_several_copies_the_first_complete_one_is_taken_and_that_is_said(root, said):
    for name in "abc":
        parquet_folder(root / name, arrays())
    next((root / "a").glob("train*")).unlink()
    assert read(root) == digest()
    assert said == [f"cifar10: several copies; {root / 'b'} is taken, before {root / 'c'}."]


def test_a_copy_that_turns_out_damaged_is_passed_over_and_that_is_said(root, said):
    images, labels = arrays()["train"]
    parquet_folder(root / "a", arrays() | {"train": (images, np.where(labels == 3, 5, labels))})
    class_folders(root / "z" / "train", images, labels)
    class_folders(root / "z" / "test", *arrays()["test"])
    assert read(root) == digest()
    assert "no image of class cat. It is passed over;" in said[1]
    assert f"{root / 'z'} is taken" in said[1]


def saved(folder, images, labels, shards=2, stream=True, label=None, names=CLASSES):
    """As ``Dataset.save_to_disk`` of the library `datasets` writes it."""
    folder.mkdir(parents=True)
    cells = pa.array([{"bytes": png(image), "path": None} for image in images])
    whole = pa.table({"img": cells, "label": pa.array(labels) if label is None else label})
    info = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
    whole = whole.replace_schema_metadata({"huggingface": json.dumps(info)} if label is None else None)
    files, step = [f"data-{k:05}-of-{shards:05}.arrow" for k in range(shards)], -(-len(images) // shards)
    for k, name in enumerate(files):
        part = whole.slice(k * step, step)
        with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(folder / name), whole.schema) as file:
            file.write_table(part, max_chunksize=7)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in files]}))
    (folder / "dataset_info.json").write_text("{}")


@pytest.mark.parametrize("stream", [True, False])
def test_what_datasets_saves_is_read(stream, root, said):
    for split, (images, labels) in arrays().items():
        saved(root / "cifar10" / split, images, labels, stream=stream)
    (root / "cifar10" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    saved(root / "generated", *arrays(3)["train"])
    (root / "generated" / "cache-0123.arrow").write_bytes(b"what map() keeps")
    dataset = load_dataset("cifar10", root)
    assert digest_of(dataset.train.images) == digest()
    assert dataset.source.startswith("arrow, ")
    server = load_server_data("cifar10-generated", dataset, root)
    assert digest_of(server.data.images) == digest(3)
    assert said == []


def test_arrow_files_that_are_damaged_or_missing_are_named(root):
    parquet_folder(root / "real", arrays())
    dataset, images, labels = load_dataset("cifar10", root), *arrays(3)["train"]
    saved(root / "a", images, labels)
    (root / "a" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"data-00001-of-00002.arrow: state.json names it, and it is not there"):
        load_server_data(str(root / "a"), dataset)
    content = (root / "a" / "data-00000-of-00002.arrow").read_bytes()
    for k, damaged in enumerate((b"", content[:200], content[:-900], content[:3000] + b"\xff" * 999 + content[3999:])):
        (root / f"b{k}").mkdir()
        (root / f"b{k}" / "x.arrow").write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.arrow"):
            load_server_data(str(root / f"b{k}"), dataset)
    labels = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 30), pa.array(["cat", None]))
    saved(root / "c", images, None, 1, label=labels)
    with pytest.raises(DataError, match="30 of 60 rows have no label"):
        load_server_data(str(root / "c"), dataset)


@pytest.mark.parametrize(
    ("counts", "factor"),
    [
        ([5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500], 10),
        ([500 * 5] + [int(2500 * 100 ** (-c / 9)) for c in range(1, 10)], 100),
        ([5000] * 5 + [50] * 5, 100),
        ([5000] * 10, None),
        ([1250 + (-1) ** c * 3 * c for c in range(10)], None),
        ([5000] * 9 + [0], None),
        ([5000] * 9 + [2000], None),
        ([2000] * 9 + [5000], None),
        ([5, 4, 3, 3, 2, 2, 2, 1, 1, 1], None),
        ([6000, 3000, 2000] + [1000] * 7, None),
    ],
)
def test_a_long_tail_is_told_from_what_damage_leaves(counts, factor):
    said = long_tail(np.repeat(np.arange(10), counts), replace(KNOWN, train=(5000,) * 10), "x")
    assert (f"--imbalance-factor {factor}." in said) == bool(said) == (factor is not None)


@pytest.mark.parametrize("form", ["parquet", "parquet to train alone", "class folders"])
def test_a_ready_made_long_tail_is_named_as_one(form, root, monkeypatch):
    counts = [30, 23, 18, 14, 11, 8, 6, 5, 4, 3]
    monkeypatch.setitem(catalog.originals(), "cifar10", replace(KNOWN, train=(30,) * 10))
    labels, test = np.repeat(np.arange(10), counts), arrays()["test"]
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    if form == "class folders":
        class_folders(root / "train", images, labels)
        class_folders(root / "test", *test)
    else:
        parquet_folder(root / "lt", {"train": (images, labels)} | ({} if "alone" in form else {"test": test}))
    with pytest.raises(DataError) as caught:
        load_dataset("cifar10-lt", root)
    assert "122 training images, from 30 to 3 a class" in str(caught.value)
    assert "not like a damaged copy" in str(caught.value)
    assert "--dataset cifar10-lt --imbalance-factor 10." in str(caught.value)


def test_a_validation_split_beside_the_others_is_no_damage(root):
    parquet_folder(root, arrays())
    write_parquet(root / "validation-0.parquet", *arrays(5)["test"])
    pq.write_table(pa.table({"x": [1]}), root / "index.parquet")
    assert read(root) == digest()
