"""The house stays as docs/architecture.md draws it: imports go downwards, rooms are few, files are short."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rooms():
    described = importlib.util.spec_from_file_location("rooms", ROOT / "docs" / "rooms.py")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def test_no_room_imports_from_one_that_imports_from_it(rooms):
    placed = rooms.floors(rooms.arrows())  # raises where there is a circle
    assert placed["core"] == 1
    assert placed["cli"] == max(placed.values())


def test_no_two_modules_import_each_other(rooms):
    known = rooms.modules()
    del known["clipfed_bench"]  # the package's face, which hands names on when they are asked for
    rooms.floors({name: rooms.imported(path, known) - {name} for name, path in known.items()})


def test_a_circle_is_named(rooms):
    with pytest.raises(ValueError, match="a circle: a -> b -> a"):
        rooms.floors({"a": {"b"}, "b": {"a"}, "c": set()})


def test_the_picture_is_of_this_code(rooms):
    assert (ROOT / "docs" / "rooms.svg").read_text() == rooms.picture(), "python docs/rooms.py draws it anew"


def test_rooms_are_few_and_files_short(rooms):
    assert len(rooms.arrows()) <= 23
    files = [*rooms.modules().values(), *(ROOT / "tests").rglob("*.py")]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > 350} == {}
    assert median(lines.values()) <= 110


def test_every_module_says_what_it_holds(rooms):
    for path in rooms.modules().values():
        text = path.read_text(encoding="utf-8")
        assert text.startswith('"""'), path
        assert "TODO" not in text, path
