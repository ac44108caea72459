"""Plug-ins that cannot be used: each says why when it is asked for, and all other components work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bad import refused, run

from clipfed_bench.api import AttackContext
from clipfed_bench.components import registry
from clipfed_bench.core.errors import UserError

HEAD = '''"""Mine: an attack of a stranger's."""

from dataclasses import dataclass
from clipfed_bench.api import Attack
'''
CONFIG = '''
@dataclass(frozen=True)
class Config:
    size: int = 3
    """How large it is [ours]."""
'''
CLASS = """
class Mine(Attack):
    def trigger(self, images):
        return images
"""
GOOD = HEAD + CONFIG + CLASS
RAN = "import pathlib\npathlib.Path('code-ran').touch()\n"


def with_option(field: str) -> str:
    return f'{HEAD}\n@dataclass(frozen=True)\nclass Config:\n    {field}\n    """Doc [ours]."""\n{CLASS}'


SOURCES: list[tuple[str, str | bytes, tuple[str, ...]]] = [
    ("no Python", "def (", ("mine.py is not valid Python", "line 3")),
    ("null byte", b"a = 1\0", ("mine.py is not valid Python",)),
    ("binary", b"\x7fELF\xff\xfe\x00", ("mine.py is not valid Python",)),
    ("no such encoding", b"# coding: klingon\n", ("mine.py is not valid Python",)),
    ("no UTF-8", b"a = '\xff'\n", ("mine.py is not valid Python",)),
    ("nested", "a = " + "(" * 5000, ("mine.py is not valid Python",)),
    ("empty", "", ("must define exactly one Attack; it has 0", "begin with '_'")),
    ("no class", HEAD + CONFIG, ("must define exactly one Attack; it has 0",)),
    ("two classes", GOOD + CLASS.replace("Mine", "Other"), ("exactly one Attack; it has 2",)),
    ("class of a class", GOOD + "class Other(Mine):\n    pass\n", ("exactly one Attack; it has 2",)),
    ("a defense", GOOD.replace("Attack", "Defense"), ("exactly one Attack; it has 0",)),
    ("no Config", HEAD + CLASS, ("a dataclass Config with @dataclass(frozen=True)",)),
    ("plain Config", GOOD.replace("@dataclass(frozen=True)\n", ""), ("@dataclass(frozen=True)",)),
    ("Config not frozen", GOOD.replace("(frozen=True)", ""), ("@dataclass(frozen=True)",)),
    ("Config thawed", GOOD.replace("frozen=True", "frozen=False"), ("@dataclass(frozen=True)",)),
    ("no documentation", GOOD.replace('"""How large it is [ours]."""', ""), ("option size is not documented",)),
    ("empty documentation", GOOD.replace("How large it is [ours].", ""), ("option size is not documented",)),
    ("no default", with_option("size: int"), ("the option size needs a default of its type, int",)),
    ("default that is made", with_option("size: int = len('abc')"), ("the default of size must be a literal",)),
    ("default of another type", with_option("size: int = 'x'"), ("size needs a default of its type, int",)),
    ("none for a number", with_option("size: int = None"), ("size needs a default of its type, int",)),
    ("infinite default", with_option("size: float = 1e999"), ("size needs a default of its type, float",)),
    ("no choice", with_option("size: Literal['a'] = 'b'"), ("size needs a default of its type",)),
    ("unhashable default", with_option("size: int = {[]: 1}"), ("the default of size must be a literal",)),
    ("type of lists", with_option("size: list[int] = ()"), ("size is of type list[int]", "possible are int")),
    ("type of code", with_option("size: __import__('os') = 1"), ("size is of type __import__",)),
    ("needs of words", GOOD.replace("(Attack):", "(Attack):\n    needs_teacher = 'yes'"), ("must be True or False",)),
    ("needs of code", GOOD.replace("(Attack):", "(Attack):\n    needs_teacher = f()"), ("must be True or False",)),
]


@pytest.mark.parametrize(("id", "source", "words"), SOURCES, ids=[line[0] for line in SOURCES])
def test_sources(id: str, source: str | bytes, words: tuple[str, ...], place: Path, install: Any) -> None:
    install({"mine": source + b"\n" + RAN.encode() if isinstance(source, bytes) else RAN + source, "fine": GOOD})
    asked = ("grid", "--dry-run", "--attack", "mine")
    message = refused(asked, ("attack 'mine' of the plug-in 'theirs' (strangers) cannot be used", *words), place)
    assert "strangers.fine" not in message
    others_work()
    listed = run("list", "attacks")
    assert listed.code == 0
    assert listed.err.count("\n") == 1
    assert listed.err.startswith("warning: attack 'mine' of the plug-in 'theirs' (strangers) cannot be used")
    refused(("grid", "--dry-run", "--attack", "*"), ("'*' is every one, and not all can be used", "'mine'"), place)
    assert not (place / "code-ran").exists()


def others_work() -> None:
    done = run("grid", "--dry-run", "--device", "cpu", "--attack", "badnets,fine", "--defense", "krum")
    assert done.code == 0, done.err


ENTRIES = [
    (
        "module that is not there",
        "nowhere_at_all",
        "mine",
        ("'mine' (nowhere_at_all)", "cannot be found", "re-install"),
    ),
    ("submodule that is not there", "nowhere.at.all", "mine", ("'mine'", "raises ModuleNotFoundError")),
    ("module of no name", "", "mine", ("'mine' ()", "raises ValueError")),
    ("relative module", ".x", "mine", ("'mine' (.x)", "raises")),
    ("object in a module", "strangers.mine:Mine", "mine", ("'mine' (strangers.mine:Mine)", "cannot be")),
    ("package that raises", "raising.mine", "mine", ("'mine' (raising.mine)", "raises ZeroDivisionError")),
    ("package that exits", "leaving.mine", "mine", ("'mine' (leaving.mine)", "raises SystemExit")),
    ("name with a bracket", "strangers.mine", "a[b", ("'a[b' is no name for --attack",)),
    ("name as a path", "strangers.mine", "../mine", ("'../mine' is no name for --attack",)),
    ("name of terminal codes", "strangers.mine", "\x1b[2J", ("'\\x1b[2J' is no name for --attack",)),
    ("built in", "math", "mine", ("source of math cannot be found",)),
]


@pytest.mark.parametrize(("id", "value", "name", "words"), ENTRIES, ids=[line[0] for line in ENTRIES])
def test_entry_points(id: str, value: str, name: str, words: tuple[str, ...], place: Path, install: Any) -> None:
    for package, line in (("raising", "1 / 0"), ("leaving", "raise SystemExit(3)")):
        (place.parent / "site" / package).mkdir()
        (place.parent / "site" / package / "__init__.py").write_text(line)
    install({"mine": GOOD}, value=value, name=name)
    refused(("grid", "--dry-run", "--attack", "unheard-of"), ("unknown attack 'unheard-of'", *words), place)
    assert run("grid", "--dry-run", "--device", "cpu", "--attack", "badnets").code == 0
    listed = run("list", "attacks")
    assert listed.code == 0
    assert listed.err.startswith("warning: ")
    assert listed.err.count("\n") == 1


def test_a_name_that_is_taken(place: Path, install: Any) -> None:
    """Nobody can tell which is meant, so neither runs under that name; the rest of the plug-in does."""
    install({"badnets": GOOD, "fine": GOOD})
    words = ("two attacks are called 'badnets'", "attacks.badnets and strangers.badnets", "'theirs'", "rename")
    refused(("grid", "--dry-run", "--attack", "badnets"), words, place)
    done = run("grid", "--dry-run", "--device", "cpu", "--attack", "dba,fine")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 / 0", "importing strangers.mine raises ZeroDivisionError: division by zero"),
        ("import nowhere_at_all", "importing strangers.mine raises ModuleNotFoundError"),
        ("raise SystemExit(3)", "importing strangers.mine raises SystemExit: 3"),
        ("raise ValueError('\\x1b[2J')", r"importing strangers.mine raises ValueError: \\x1b\[2J"),
    ],
)
def test_raising_at_import(line: str, words: str, install: Any) -> None:
    """It is described without being imported; who makes it is told what it raised."""
    install({"mine": GOOD + line + "\n", "fine": GOOD})
    assert "mine" in registry.attacks()
    context = AttackContext(0, 10, (3, 32, 32))
    with pytest.raises(UserError, match=f"attack 'mine' cannot be used: {words}"):
        registry.create_attack(registry.choose("attack", "mine"), context)
    assert registry.create_attack(registry.choose("attack", "fine", size="7"), context).config.size == 7


def test_nothing_of_a_plugin_runs_before_it_is_chosen(place: Path, install: Any) -> None:
    install({"__init__": RAN, "mine": RAN + GOOD})
    assert run("list", "attacks").code == 0
    assert run("grid", "--dry-run", "--device", "cpu", "--attack", "mine[size=2]").code == 0
    assert not (place / "code-ran").exists()
