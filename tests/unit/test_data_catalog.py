"""Names, imbalance factors, the cache under contention, class counts, `data show`, and the real CIFAR-10 if present."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clipfed_bench.cli.data import app
from clipfed_bench.core.errors import UserError
from clipfed_bench.data import cache, catalog
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.feasible import class_counts, train_counts
from clipfed_bench.data.heat_map import client_counts
from clipfed_bench.data.server_set.load import load_server_data

REAL = Path(os.environ.get("CLIPFED_BENCH_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def test_catalog_needs_no_torch():
    code = (
        "import sys, clipfed_bench.data.catalog, clipfed_bench.cli.data\n"
        "print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_cifar100_classes_are_the_official_ones():
    classes = catalog.info("cifar100").classes
    assert len(classes) == len(set(classes)) == 100
    assert list(classes) == sorted(classes)
    assert [classes[i] for i in (0, 26, 47, 58, 99)] == ["apple", "crab", "maple_tree", "pickup_truck", "worm"]


@pytest.mark.parametrize(
    ("name", "factor", "result"),
    [("digits", None, 1), ("cifar10", 1, 1), ("cifar10-lt", None, 10), ("cifar100-lt", 50, 50), ("digits-lt", 1, 1)],
)
def test_imbalance_factor(name, factor, result):
    assert catalog.resolve_imbalance(name, factor) == result


@pytest.mark.parametrize(
    ("name", "factor", "words"),
    [
        ("cifar10", 10, "cifar10-lt"),
        ("cifar10-lt", 0.5, "at least 1"),
        ("cifar10-lt", float("nan"), "at least 1"),
        ("cifar10-tl", None, "Did you mean 'cifar10-lt'"),
    ],
)
def test_impossible_imbalance(name, factor, words):
    with pytest.raises(UserError, match=words):
        load_dataset(name, Path("nowhere"), factor)


def test_long_tail_counts():
    assert class_counts(5000, 10, 10) == [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]
    assert sum(class_counts(5000, 100, 10)) == 12406
    assert sum(class_counts(500, 10, 100)) == 19573
    with pytest.raises(UserError, match="at most 130"):
        class_counts(130, 131, 10)


@pytest.mark.parametrize(("name", "factor"), [("digits", 1), ("digits-lt", 3), ("digits-lt", 10)])
def test_training_images_are_known_without_reading_them(name, factor):
    assert load_dataset(name, None, factor).train.labels.bincount().tolist() == train_counts(name, factor)


def test_cache_with_many_writers_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path))

    def load(_):
        return cache.cached("key", lambda: {"x": np.arange(200_000)})["x"]

    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(x, np.arange(200_000)) for x in pool.map(load, range(40)))
    assert [p.name for p in (tmp_path / "arrays").iterdir()] == ["key.npz"]


def test_cache_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "file"))
    assert cache.cached("key", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]


def test_client_counts():
    labels = torch.tensor([0, 1, 1, 2, 2, 2])
    counts = client_counts(labels, [torch.tensor([0, 3]), torch.tensor([1, 2, 4, 5])], 3)
    assert counts.tolist() == [[1, 0, 1], [0, 2, 2]]


def test_data_show_prints_counts_that_add_up_and_draws_them(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "map.png"
    result = CliRunner().invoke(app, ["show", "digits-lt", "--alpha", "0.3", "--clients", "8", "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if line.split() and line.split()[0] in "01234567total"]
    numbers = np.array([[0 if cell == "·" else int(cell) for cell in row[1:]] for row in rows])
    assert numbers.shape == (9, 11)
    assert np.array_equal(numbers[:8].sum(axis=0), numbers[8])
    assert numbers[8, :10].tolist() == load_dataset("digits-lt").train.labels.bincount().tolist()
    assert out.read_bytes().startswith(b"\x89PNG")
    assert str(out) in result.output.replace("\n", "")


def test_data_show_default_file_and_scheme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["show", "digits", "--degree", "0.5"]).exit_code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["digits-degree-0.5.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digit"], "Did you mean 'digits'"),
        (["digits", "--alpha", "1", "--partition", "iid"], "iid has no such option"),
        (["digits", "--clients", "500"], "500 clients"),
        (["digits", "--out", "no/where.png"], "folder that exists"),
    ],
)
def test_data_show_mistakes(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        CliRunner().invoke(app, ["show", *arguments], catch_exceptions=False)


@pytest.mark.skipif(not (REAL / "cifar10").is_dir(), reason="CIFAR-10 is not at CLIPFED_BENCH_DATA or ../shared/data")
def test_real_cifar10():
    whole, tail = (load_dataset(name, REAL, None) for name in ("cifar10", "cifar10-lt"))
    assert (len(whole.train), len(whole.test)) == (50000, 10000)
    assert [round(v, 4) for v in whole.mean] == [0.4914, 0.4822, 0.4465]
    assert [round(v, 4) for v in whole.std] == [0.2470, 0.2435, 0.2616]
    assert (len(tail.train), len(tail.discarded), len(tail.test)) == (20431, 29569, 10000)
    server = load_server_data("cifar10-generated", tail, REAL, per_class=100)
    assert server.data.labels.bincount().tolist() == [100] * 10
    held = load_server_data("holdout:100", tail, REAL)
    own = {i.numpy().tobytes() for i in tail.train.images}
    shared = sum(i.numpy().tobytes() in own for i in held.data.images)
    assert shared == 100  # the head class has no discarded image, all others come from the discarded
