"""``grid`` alone is the whole grid; what is missing for it is said once, before anything is computed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bad import refused, run
from makers.data_files import parquet_folder

from clipfed_bench.data import catalog

WHOLE = ("grid", "--dataset", "cifar10-lt", "--device", "cpu")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


def test_nothing_at_all(place: Path) -> None:
    words = ("nothing was run, for want of", "data set cifar10, for 96 of 96 cells", "cannot be reached from here")
    message = refused(WHOLE, words, place)
    assert message.count("was not found under") == 1
    paper = refused((*WHOLE, "--scale", "paper"), ("data set cifar10", "teacher", "server data"), place)
    assert paper.count("Ways out") == 1
    assert "server data can be made: clipfed-bench server-data generate --dataset cifar10" in paper


def test_cifar_alone_goes_with_held_out_server_data(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(catalog.originals()["cifar10"], train=(120,) * 10, test=(2,) * 10, mean=None)
    monkeypatch.setitem(catalog.originals(), "cifar10", known)
    images = np.random.default_rng(0).integers(0, 256, (1220, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(1220) % 10
    parquet_folder(place / "data", {"train": (images[20:], labels[20:]), "test": (images[:20], labels[:20])})
    done = run(
        "grid", "--dataset", "cifar10", "--device", "cpu", "--clients", "5", "--clients-per-round", "5", "--dry-run"
    )
    assert done.code in (None, 0), done
    first, second, bound, ways, command, cost, *_ = done.out.splitlines()
    assert first.startswith("Scaled down, the paper's in brackets: small CNN (ResNet-18), 5 clients (100)")
    assert " 96 cells, about " in first
    assert second == "The paper's scale, which wants a GPU: --scale paper."
    assert bound == "Server data: holdout:100, real images that no client holds, an upper bound."
    assert ways == "Generated ones: --server-data PATH, or make them (on a GPU if there is one):"
    assert command.strip().startswith("clipfed-bench server-data generate --dataset cifar10 --out ")
    assert re.fullmatch(
        r"\(1,000 images by stabilityai/sd-turbo on the CPU; 5.2 GB to download; about .+ to draw, a rough guess\)",
        cost.strip(),
    )


def test_only_some_cells_cannot_run(place: Path) -> None:
    tiny = ("--dataset", "digits", "--alpha", "0.5", "--attack", "none", "--seed", "0", "--warmup-rounds", "0")
    tiny += ("--clients", "20", "--clients-per-round", "2", "--local-epochs", "1", "--rounds", "1", "--device", "cpu")
    tiny += ("--defense", "fedavg,clip-fed", "--teacher", "open_clip:RN50@absent.pt", "--workers", "1")
    checked = run("check", *tiny)
    assert checked.code == 1, checked
    done = run("grid", *tiny, "-q", "--out", "run")
    assert done.code == 1
    settled = run("check", *tiny, "--defense", "fedavg", "--out", "run")
    assert settled.out == "1 of 1 cells are done: nothing is needed.\n"
    for text in (checked.err, done.err):
        assert text.startswith("warning: teacher open_clip:RN50@absent.pt, for 1 of 2 cells: ")
        assert "1 of 2 cells are left out for that." in text
    stored = [json.loads(path.read_text()) for path in (place / "run" / "cells").glob("*.json")]
    assert sorted(cell["status"] for cell in stored) == ["done", "failed"]
    assert "there is no file 'absent.pt'" in next(cell["error"] for cell in stored if cell["status"] == "failed")


def test_check_shows_what_there_is(place: Path) -> None:
    done = run("check", "--preset", "demo", "--device", "cpu")
    assert done.code in (None, 0), done
    for word in ("data set digits", "holdout:30", "teacher local", "disk space"):
        assert word in done.out
