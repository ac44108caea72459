"""Data sets of plug-ins that cannot be used: each says why when it is asked for, and all others work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bad import refused, run

GOOD = '''"""Mine: two colors."""

import numpy as np
from clipfed_bench.api import DataSource
from clipfed_bench.data.arrays import Split


class Mine(DataSource):
    classes = ("dark", "light")
    train_per_class = 4
    test_per_class = (1, 2)

    def load(self, folder):
        return part([4, 4]), part([1, 2])

    def generated(self, folder):
        return part([3, 3])


def part(counts):
    labels = np.repeat([0, 1], counts)
    images = np.zeros((len(labels), 3, 32, 32), np.uint8) + 200 * labels[:, None, None, None]
    images[:, 0, 0, 0] = np.arange(len(labels)) + 20 * len(labels)
    return Split(images.astype(np.uint8), labels)
'''
RAN = "import pathlib\npathlib.Path('code-ran').touch()\n"
WHOLE = "def load(self, folder):\n        "


def changed(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after)


SOURCES: list[tuple[str, str, tuple[str, ...]]] = [
    ("no Python", "def (", ("mine.py is not valid Python", "line 1")),
    ("empty", "", ("must define exactly one DataSource; it has 0",)),
    ("two", GOOD + "\nclass Other(Mine):\n    pass\n", ("exactly one DataSource; it has 2",)),
    ("an attack", changed("DataSource", "Attack"), ("exactly one DataSource; it has 0",)),
    ("no classes", changed('classes = ("dark", "light")', "pass"), ("its classes must be a tuple of texts", "None")),
    ("one class", changed(', "light"', ","), ("two or more different names",)),
    ("a class twice", changed('"light"', '"dark"'), ("two or more different names",)),
    ("class of numbers", changed('"light"', "7"), ("its classes must be a tuple of texts", "('dark', 7)")),
    ("class of terminal codes", changed('"light"', '"\\x1b[2J"'), ("its classes must be a tuple of texts",)),
    ("classes that are made", changed('("dark", "light")', "tuple('ab')"), ("its classes must be a literal",)),
    ("no numbers", changed("train_per_class = 4", "pass"), ("its train_per_class must be a whole number", "None")),
    ("no images", changed("train_per_class = 4", "train_per_class = 0"), ("its train_per_class must be", "is 0")),
    ("half an image", changed("train_per_class = 4", "train_per_class = 4.5"), ("train_per_class must be", "is 4.5")),
    ("three numbers", changed("(1, 2)", "(1, 2, 3)"), ("one for each of its 2 classes", "(1, 2, 3)")),
    ("caption without {}", changed("(1, 2)", "1\n    captions = ('a',)"), ("captions must hold {} once",)),
    ("aliases too few", changed("(1, 2)", "1\n    aliases = ('0',)"), ("it has 1 aliases and 2 classes",)),
    ("mean of one channel", changed("(1, 2)", "1\n    mean = (0.5,)"), ("its mean is (0.5,)", "each of 3 channels")),
    ("half exact", changed("(1, 2)", "1\n    exact = 0.5"), ("its exact is 0.5; True or False is needed",)),
    (
        "server data of numbers",
        changed("(1, 2)", "1\n    server_data = 3"),
        ("its server_data is 3", "as for --server-"),
    ),
    ("teacher of numbers", changed("(1, 2)", "1\n    teacher = 3"), ("its teacher is 3", "as for --teacher")),
]


@pytest.mark.parametrize(("id", "source", "words"), SOURCES, ids=[line[0] for line in SOURCES])
def test_sources(id: str, source: str, words: tuple[str, ...], place: Path, install: Any) -> None:
    install({"mine": source + "\n" + RAN, "fine": GOOD}, kind="dataset")
    why = "dataset 'mine' of the plug-in 'theirs' (strangers) cannot be used"
    refused(("grid", "--dry-run", "--dataset", "mine"), (why, *words), place)
    refused(("data", "show", "mien"), ("unknown dataset 'mien'", why), place)
    listed = run("list", "datasets")
    assert listed.code in (None, 0)
    assert "fine-lt" in listed.out
    assert listed.err.startswith(f"warning: {why}")
    assert listed.err.count("\n") == 1
    small = ("--clients", "2", "--clients-per-round", "2", "--malicious", "0.5", "--min-samples", "2", "--target", "1")
    done = run("grid", "--dry-run", "--device", "cpu", "--dataset", "fine", *small)
    assert done.code in (None, 0), done.err
    assert not (place / "code-ran").exists()


NAMES = [
    ("digits", ("two datasets are called 'digits': the built-in one and strangers.digits", "rename")),
    ("mine-lt", ("dataset 'mine-lt'", "ends with '-lt'")),
    ("a[b", ("'a[b' is no name for --dataset",)),
]


@pytest.mark.parametrize(("name", "words"), NAMES)
def test_names(name: str, words: tuple[str, ...], place: Path, install: Any) -> None:
    """The built-in one stays what it is: nobody else's can take its place."""
    install({"digits": GOOD}, "strangers.digits", name, kind="dataset")
    refused(("grid", "--dry-run", "--dataset", "nobody's"), ("unknown dataset", *words), place)
    from clipfed_bench.data.datasets import load_dataset

    assert load_dataset("digits").source.startswith("scikit-learn digits, sha256")


WRITTEN = changed("(1, 2)", "(1, 2)\n    writers = 4").replace(
    ", labels)", ", labels, None, np.arange(len(labels)) % 4)"
)
LOADS: list[tuple[str, str, tuple[str, ...]]] = [
    ("raising", changed(WHOLE, WHOLE + "1 / 0\n        "), ("it raises ZeroDivisionError: division by zero",)),
    ("raising at import", GOOD + "raise ValueError('\\x1b[2J')\n", ("raises ValueError: \\x1b[2J",)),
    ("nothing", changed("return part([4, 4]), part([1, 2])", "return None"), ("load must give two splits",)),
    ("one split", changed("return part([4, 4]), part([1, 2])", "return part([4, 4])"), ("load must give two splits",)),
    ("arrays", changed("part([4, 4]), ", "part([4, 4]).images, "), ("training split: a ndarray", "Split is needed")),
    ("floats", changed("images.astype(np.uint8)", "images / 1.0"), ("float64 (8, 3, 32, 32) and int64 (8,)", "uint8")),
    ("gray", changed("images.astype(np.uint8)", "images[:, :1]"), ("(8, 1, 32, 32)", "(N, 3, 32, 32)")),
    ("28×28", changed("images.astype(np.uint8)", "images[..., :28, :28].astype('u1')"), ("(8, 3, 28, 28)",)),
    ("labels of 32 bits", changed(", labels)", ", labels.astype(np.int32))"), ("int32 (8,)", "int64 (N,) are needed")),
    ("labels of a list", changed(", labels)", ", list(labels))"), ("and list", "int64 (N,) are needed")),
    ("label too large", changed(", labels)", ", labels + 1)"), ("label out of range", "0 to 1")),
    ("label below 0", changed(", labels)", ", labels - 1)"), ("label out of range", "-1")),
    ("an image more", changed("part([4, 4]),", "part([4, 5]),"), ("light 5 and not 4", "than it states")),
    ("test images", changed("part([1, 2])", "part([2, 1])"), ("test split", "dark 2 and not 1, light 1 and not 2")),
    ("writers unsaid", changed("(1, 2)", "(1, 2)\n    writers = 2"), ("does not say who made", "states writers = 2")),
    ("writers unstated", changed(", labels)", ", labels, None, labels)"), ("says who made", "states writers = 0")),
    ("writers miscounted", WRITTEN.replace("writers = 4", "writers = 5"), ("int64 (8,), 4 of them", "with 5 is")),
    ("writers of floats", WRITTEN.replace("% 4", "% 4 / 1"), ("float64 (8,)", "int64 (8,) with 4")),
    ("a caption too few", changed(", labels)", ", labels, ('a',))"), ("a caption, a text, for each of the 8",)),
]  # fmt: skip


@pytest.mark.parametrize(("id", "source", "words"), LOADS, ids=[line[0] for line in LOADS])
def test_loading(id: str, source: str, words: tuple[str, ...], place: Path, install: Any) -> None:
    install({"mine": source}, kind="dataset")
    refused(
        ("data", "show", "mine", "--clients", "2", "--min-samples", "1"), ("'mine'", "strangers.mine", *words), place
    )


def test_held_out_server_images_are_nobodys_where_they_are_the_default(place: Path, install: Any) -> None:
    from clipfed_bench.config.grid import Axes, make_grid

    install({"mine": changed("(1, 2)", '(1, 2)\n    server_data = "holdout:1"')}, kind="dataset")
    axes = {"dataset": ["mine"], "defense": ["fedavg", "krum", "fltrust"], "target": [0], "clients": [2]}
    axes |= {"clients_per_round": [2], "malicious": [0.5], "min_samples": [1], "warmup_rounds": [1]}
    cells = make_grid(Axes("held", "", axes)).cells
    assert {cell.server_data for cell in cells} == {"holdout:1"}
    assert len({cell.warmup_key for cell in cells}) == 1
    without = {name: values for name, values in axes.items() if name != "defense"}
    (alone,) = make_grid(Axes("alone", "", without | {"defense": ["fedavg"]})).cells
    assert alone.server_data is None, "nobody holds images out"


def test_writers(place: Path, install: Any) -> None:
    """Who made an image reaches the partition, also of a long tail, and so does how many there are."""
    install({"mine": WRITTEN}, kind="dataset")
    for name, clients in (("mine", "4"), ("mine-lt", "2")):
        more = ("--imbalance-factor", "2") if name == "mine-lt" else ()
        done = run("data", "show", name, "--partition", "natural", "--clients", clients, "--min-samples", "1", *more)
        assert done.code in (None, 0), done.err
        assert f"{name}: natural, {clients}" in done.out
    refused(
        ("data", "show", "mine", "--partition", "natural", "--clients", "5", "--min-samples", "1"),
        ("4 writers",),
        place,
    )


def test_server_data(place: Path, install: Any) -> None:
    """What is wrong with it; and where there is none."""
    from clipfed_bench.core.errors import UserError
    from clipfed_bench.data.datasets import load_dataset
    from clipfed_bench.data.server_set.load import load_server_data

    install(
        {
            "mine": GOOD,
            "own": changed("part([3, 3])", "part([4, 4])"),
            "wrong": changed("part([3, 3])", "'images'"),
            "none": changed("generated", "generate"),
        },
        kind="dataset",
    )
    assert len(load_server_data("mine-generated", load_dataset("mine")).captions) == 6
    for name, words in (("own", "8 of its 8 images are images of own"), ("wrong", "server data: a str")):
        with pytest.raises(UserError, match=words):
            load_server_data(f"{name}-generated", load_dataset(name))
    small = (
        "--clients",
        "2",
        "--clients-per-round",
        "2",
        "--malicious",
        "0.5",
        "--min-samples",
        "2",
        "--target",
        "1",
        "--defense",
        "fltrust",
    )
    words = ("none has none of its own", "holdout:N")
    refused(("grid", "--dry-run", "--dataset", "none", *small), words, place)
    more = ("--dataset", "none", "--server-data", "mine-generated")
    refused(("grid", "--dry-run", *more, *small), ("other classes than none; use a path or holdout:N",), place)
    done = run("grid", "--dry-run", "--device", "cpu", "--dataset", "none", "--server-data", "holdout:1", *small)
    assert done.code in (None, 0), done.err


def test_nothing_runs_before_it_is_chosen(place: Path, install: Any) -> None:
    install({"__init__": RAN, "mine": GOOD + RAN}, kind="dataset")
    assert run("list", "datasets").code in (None, 0)
    small = ("--clients", "2", "--clients-per-round", "2", "--malicious", "0.5", "--min-samples", "2", "--target", "1")
    assert run("grid", "--dry-run", "--device", "cpu", "--dataset", "mine", *small).code in (None, 0)
    assert not (place / "code-ran").exists()
