"""Digests of source: what counts of a file, and which files of a method do."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from clipfed_bench.components.registry import attacks, defenses
from clipfed_bench.core import sources
from clipfed_bench.core.sources import closure, code, current, first

SOURCE = '''
"""A module."""
import os

LIMITS = (1, 2)  # a comment

class A:
    """Documented."""
    size: int = 3
    """Also documented."""

    def name(self, other):
        return f"{other['x']!r:>{self.size}} # no comment" + "kept \\
too" + r"""raw
"""
'''


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def digest(path: Path, text: str) -> str:
    path.write_text(text)
    return current(path)[0]


def test_a_digest_is_the_same_under_every_python(tmp_path):
    assert digest(tmp_path / "a.py", SOURCE) == "1f084755620e373b"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a comment", "another"),
        ('"""A module."""\n', ""),
        ("Documented.", "Otherwise.\n\n    At length."),
        ('    """Also documented."""\n', ""),
        ("\n\nclass A", "\n\n\n# Above.\nclass A"),
        ("(1, 2)", "(\n    1,\n    2)"),
        ("    ", "        "),
        ("\n", "\r\n"),
    ],
)
def test_what_says_nothing_to_python_does_not_count(tmp_path, old, new):
    assert old in SOURCE
    assert digest(tmp_path / "b.py", SOURCE.replace(old, new)) == digest(tmp_path / "a.py", SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(1, 2)", "(1, 3)"),
        ("size: int = 3", "size: int = 4"),
        ("# no comment", "# a comment"),
        ("other['x']", "other['y']"),
        ("self.size}}", "self.name}}"),
        ("raw\n", "raw\n\n"),
        ("kept \\\ntoo", "kept\\\ntoo"),
        ("        return", "        pass\n    return"),
        ("import os", "import os, sys"),
    ],
)
def test_all_else_counts(tmp_path, old, new):
    assert old in SOURCE
    assert digest(tmp_path / "b.py", SOURCE.replace(old, new)) != digest(tmp_path / "a.py", SOURCE)


def test_a_file_counts_by_its_content_also_where_its_times_and_size_are_as_before(tmp_path):
    path = tmp_path / "a.bin"
    before, stat = digest(path, "one"), path.stat()
    os.utime(path, (1, 1))
    assert current(path)[0] == before
    after = digest(path, "two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert current(path)[0] == after != before
    pinned = first(path)[0]
    digest(path, "six")
    assert first(path)[0] == pinned, "a process has imported what it saw first"


def test_source_that_this_python_cannot_read_counts_by_its_bytes(tmp_path):
    assert len({digest(tmp_path / "a.py", text) for text in ("def (", "def ( # no", "def (\x00")}) == 3


def test_what_files_come_to_is_remembered_and_a_damaged_memory_is_not_believed(tmp_path, monkeypatch):
    (tmp_path / "method.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    memory = Path(os.environ["CLIPFED_BENCH_CACHE"]) / "sources-1.json"
    found = closure(["method"], current)
    assert len(json.loads(memory.read_text())) == 1
    for damaged in ("{", "[]", '{"a": 1}', '{"a": ["b"]}'):
        memory.write_text(damaged)
        sources._remembered.cache_clear()
        sources._read.cache_clear()
        assert closure(["method"], current) == found


# --- which files -------------------------------------------------------------------------------------------------


STAR = """
from typing import TYPE_CHECKING
import helper_of_mine
from ..shapes import star
from clipfed_bench.toolbox.triggers import box
if TYPE_CHECKING:
    from mine import types
PATTERN = "pattern.npy"
def late():
    import importlib
    from mine.deep import below
    importlib.import_module("mine.named")
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A package with everything that a method may reach, and one beside it."""
    files = {
        "mine/__init__.py": "",
        "mine/attacks/__init__.py": "",
        "mine/attacks/star.py": STAR,
        "mine/attacks/pattern.npy": "0",
        "mine/attacks/other.py": "",
        "mine/shapes.py": "from . import corners\n",
        "mine/corners.py": "",
        "mine/types.py": "",
        "mine/named.py": "",
        "mine/deep/__init__.py": "import mine.fast\n",
        "mine/deep/below.py": "",
        "mine/fast.abi3.so": "",
        "helper_of_mine.py": "",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_method_of_another_package_is_all_that_it_imports_of_its_own_and_of_the_project(plugin):
    found = {name for name in closure(["mine.attacks.star"], current) if not name.startswith("clipfed_bench")}
    reached = "mine mine.attacks mine.attacks.star mine.attacks.star/pattern.npy mine.shapes mine.corners mine.deep"
    assert found == {*reached.split(), "mine.deep.below", "mine.fast", "mine.named", "helper_of_mine"}
    assert "clipfed_bench.toolbox.triggers" in closure(["mine.attacks.star"], current)
    assert not {"mine", "helper_of_mine"} & set(sys.modules), "nothing of it is run"


@pytest.mark.parametrize("name", ["corners.py", "deep/below.py", "fast.abi3.so", "attacks/pattern.npy"])
def test_each_of_them_counts(plugin, name):
    before = closure(["mine.attacks.star"], current)
    (plugin / "mine" / name).write_text("changed = 1")
    assert closure(["mine.attacks.star"], current) != before


def test_where_packages_are_installed_neighbors_are_of_others_unless_the_distribution_has_them(plugin):
    info = plugin / "mine-1.dist-info"
    info.mkdir()
    assert "helper_of_mine" not in closure(["mine.attacks.star"], current)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[clipfed_bench.attacks]\nmine = mine.attacks\n")
    (info / "RECORD").write_text("helper_of_mine.py,,\nmine/__init__.py,,\n")
    assert "helper_of_mine" in closure(["mine.attacks.star"], current)


def test_no_method_hangs_on_how_results_are_shown():
    methods = [found.module for found in (*attacks().values(), *defenses().values())]
    reached = closure(["clipfed_bench.execution.runner", *methods], current)
    rooms = {name.split(".")[1] for name in reached if "." in name}
    assert not rooms & {"cli", "report", "paper", "generate", "flower"}
    assert {"simulator", "models", "toolbox", "teacher", "data"} <= rooms


def test_krum_hangs_on_distances_and_the_simulator_does_not():
    assert "clipfed_bench.toolbox.distances" in closure(["baselines.krum"], current)
    without = ["clipfed_bench.teacher", "clipfed_bench.data.server_set"]
    assert "clipfed_bench.toolbox.distances" not in closure(["clipfed_bench.execution.runner"], current, without)


def test_a_digest_is_of_all_of_them():
    assert code("baselines.krum") == code("baselines.krum") != code("baselines.multi_krum")
