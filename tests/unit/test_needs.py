"""What a grid needs is looked at before anything is computed, and what is missing is said once."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.specs import cell

from clipfed_bench.cli.options import PlaceOptions, choose_grid
from clipfed_bench.config.grid import Axes, choose_base, make_grid
from clipfed_bench.core import network
from clipfed_bench.execution import needs as module
from clipfed_bench.execution.needs import missing, needs, with_server_data, with_teacher
from clipfed_bench.execution.places import Places
from clipfed_bench.execution.scripting import grid
from clipfed_bench.execution.session import Session


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


def session(folder: Path, *cells, **places) -> Session:
    return Session(cells, Places(folder / "run", "cpu", 1, folder, **places))


def states(found: list[module.Need]) -> dict[str, str]:
    return {need.what: need.state for need in found}


def test_digits_need_nothing_but_room(tmp_path: Path) -> None:
    found = needs(session(tmp_path, cell(), cell(defense="clip-fed")))
    assert states(found) == {
        "data set digits": "there",
        "server data glyphs": "made",
        "teacher local": "made",
        "run folder": "made",
        "cache": states(found)["cache"],
        "disk space": "there",
    }
    assert not missing(found)


def test_each_thing_that_is_missing_is_said_with_the_cells_it_concerns(tmp_path: Path) -> None:
    plain, taught = cell(dataset="cifar10"), cell(dataset="cifar10", defense="clip-fed")
    found = missing(needs(session(tmp_path, plain, taught, cell())))
    assert {need.what: need.cells for need in found} == {
        "data set cifar10": (plain.key, taught.key),
        "server data cifar10-generated": (taught.key,),
        "teacher open_clip:ViT-L-14/openai": (taught.key,),
    }
    assert "cifar-10-python.tar.gz cannot be reached" in found[0].detail
    assert "--server-data holdout:N" in found[1].detail
    assert "--teacher local" in found[2].detail


def test_nothing_is_needed_for_what_is_done_or_given_up(tmp_path: Path) -> None:
    far, near = cell(dataset="cifar10"), cell()
    asked = session(tmp_path, far, near)
    asked.give_up({far.key: "no data"})
    assert [c.key for c in asked.todo] == [near.key]
    assert not missing(needs(asked))


def test_a_folder_that_cannot_be_written_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    found = missing(needs(session(tmp_path, cell())))
    assert [need.what for need in found] == ["run folder", "cache", "disk space"]
    assert "name another folder" in found[0].detail
    assert found[2].detail.startswith("4 MB wanted, 0 MB free at ")


def test_held_out_images_stand_in_for_generated_ones_that_are_nowhere(tmp_path: Path) -> None:
    whole = choose_base(None, None, "cpu")
    assert with_server_data(whole, tmp_path).values["server_data"] == ["holdout:100"]
    assert {c.server_data for c in make_grid(with_server_data(whole, tmp_path)).cells} == {"holdout:100"}
    named = whole.override({"server_data": ["mine"]})
    assert with_server_data(named, tmp_path) == named
    digits = Axes(values={"dataset": ["digits"]})
    assert with_server_data(digits, tmp_path) == digits


@pytest.mark.parametrize("installed", [True, False])
def test_a_better_teacher_is_taken_for_photographs_where_it_is_installed(monkeypatch, installed: bool) -> None:
    monkeypatch.setattr("clipfed_bench.teacher.towers.installed", lambda: installed)
    whole = choose_base(None, None, "cpu")
    assert with_teacher(whole).values["teacher"] == (["lit"] if installed else ["local"])
    digits = Axes(values={"dataset": ["digits"], "teacher": ["local"]})
    assert with_teacher(digits) == digits


@pytest.mark.parametrize(
    ("scale", "teacher", "found"),
    [("cpu", None, "lit"), ("cpu", "local", "local"), (None, None, "open_clip:ViT-L-14/openai")],
)
def test_so_does_a_preset_at_the_cpu_scale(monkeypatch, scale, teacher, found) -> None:
    monkeypatch.setattr("clipfed_bench.teacher.towers.installed", lambda: True)
    asked = choose_grid({"teacher": teacher}, "sensitivity", None, None, scale, PlaceOptions(device="cpu"))
    assert {cell.teacher for cell in asked.cells} == {found}
    named = {} if teacher is None else {"teacher": teacher}
    assert grid(preset="sensitivity", scale=scale, **named) == asked


def test_nobody_answers_and_that_is_known_soon() -> None:
    assert not network.reachable("https://127.0.0.1:9/x", patience=2.0)
    assert not network.hub_reachable()
    assert not network.reachable("no address")
