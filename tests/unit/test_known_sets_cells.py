"""``grid --dataset mnist``, ``femnist``, ``gtsrb``: what is planned for each, and a cell from files to figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers import known_sets as make
from makers.specs import environment, small_cell
from terminal import cli

from clipfed_bench.cli.options import choose_base
from clipfed_bench.config.grid import Axes
from clipfed_bench.execution.needs import FREQUENCY, for_gray, with_server_data, with_teacher
from clipfed_bench.simulator.cell import run_cell


def mnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "mnist", 12, 3)
    make.idx(root / "MNIST" / "raw", {"train": "train", "test": "t10k"}, make.parts("mnist"))


def gtsrb(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.small(monkeypatch, "gtsrb", 4, 1)
    make.signs(root / "GTSRB", make.parts("gtsrb"))


def femnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.femnist_leaf(root / "leaf", *make.characters(8, 24))


@pytest.mark.parametrize(
    ("files", "kind", "settings"),
    [
        (mnist, "idx files", {"alpha": 100}),
        (femnist, "LEAF files", {"partition": "natural", "clients": 8}),
        (gtsrb, "class folders", {"partition": "iid"}),
    ],
    ids=["mnist", "femnist", "gtsrb"],
)
def test_a_grid(files, kind, settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, root = files.__name__, tmp_path / "data"
    root.mkdir()
    files(root, monkeypatch)
    few = {"clients": 10, "clients_per_round": 4, "malicious": 0.5, "min_samples": 2} | settings
    options = [part for key, value in few.items() for part in (f"--{key.replace('_', '-')}", value)]
    more = [
        "--attack",
        "badnets",
        "--defense",
        "fedavg",
        "--seeds",
        "1",
        "--server-data",
        "holdout:1",
        "--device",
        "cpu",
    ]
    asked = cli("check", "--dataset", name, "--data-dir", root, *options, *more, cwd=tmp_path, columns=300)
    assert f"{kind}, {root}" in asked.stdout, asked.stdout + asked.stderr
    assert asked.returncode == 0
    cell = small_cell(dataset=name, rounds=1, server_data="holdout:1", **few)
    result = run_cell(cell, environment(tmp_path, "cache", data_dir=root))
    assert 0 <= result.final["mta"] <= 1
    assert 0 <= result.final["asr"] <= 1
    assert result.provenance["data_source"].startswith(f"{kind}, sha256 ")


def test_what_a_whole_grid_takes_for_gray_images(tmp_path: Path) -> None:
    """The small CNN at the paper's scale, too, a frequency trigger that needs no colors, held-out images, a teacher."""
    for scale in ("cpu", "paper"):
        gray = choose_base(None, None, scale).override({"dataset": ["mnist", "femnist-lt"]})
        found = for_gray(gray, ()).values
        assert found["model"] == ["cnn"]
        assert [str(attack) for attack in found["attack"]][-1] == FREQUENCY
        assert for_gray(gray, ("model", "attack")) == gray
        colors = gray.override({"dataset": ["mnist", "gtsrb"]})
        assert for_gray(colors, ()) == colors
    assert with_server_data(Axes(values={"dataset": ["mnist"]}), tmp_path).values["server_data"] == ["holdout:100"]


def test_a_better_teacher_is_for_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipfed_bench.teacher.towers.installed", lambda: True)
    for name, better in (("gtsrb", True), ("tiny-imagenet-lt", True), ("fashion-mnist", False), ("emnist", False)):
        found = with_teacher(Axes(values={"dataset": [name], "teacher": ["local"]}))
        assert found.values["teacher"] == (["lit"] if better else ["local"])
