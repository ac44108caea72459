"""Readers of text on what nobody thought of: grids, names, values, and what goes into LaTeX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from bad import only_user_errors, run
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.grid import Axes, make_grid, parse_toml
from clipfed_bench.core.values import convert, parse_choice, split_list
from clipfed_bench.report.formats.latex import escape
from clipfed_bench.runs.folder import RUNS
from clipfed_bench.runs.store import RunStore

bounded = settings(settings.get_profile("bounded"))


# --- grids in TOML --------------------------------------------------------------------------------------------------

KEYS = [
    *CellSpec.__dataclass_fields__,
    "seeds",
    "name",
    "base",
    "description",
    "grid",
    "scale",
    "cells",
    "clients-per-round",
]
WORDS = [
    "*",
    "fedavg",
    "krum[",
    "badnets[size=3]",
    "digits",
    "cifar10-lt",
    "smoke",
    "none",
    "inf",
    "../up",
    "holdout:9",
    "",
]
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def toml(value: Any) -> str:
    """``value`` as TOML writes it inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" if not 0xD800 <= ord(c) < 0xE000 else "?" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    return str(value)


def load(text: str) -> None:
    with only_user_errors():
        axes = parse_toml(text, "g.toml", "g")
        assert isinstance(axes, Axes)
        for scale in [None, *axes.scales]:
            grid = make_grid(axes.at(scale) if scale else axes)
            inside(grid.name)


def inside(name: str) -> None:
    """A run of this name is a folder of its own, right below the folder of all runs."""
    folder = (RUNS / name).resolve()
    assert folder.parent == RUNS.resolve()
    assert not folder.name.startswith((".", "-"))


@bounded
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), VALUES, max_size=4))
@example({"alpha": [0.1, float("nan")]})
@example({"grid": [{"alpha": 1}, {"grid": []}], "scale": {"x": {"rounds": 2}}})
def test_tables_of_anything(content: dict[str, Any]) -> None:
    load("\n".join(f"{toml(key)} = {toml(value)}" for key, value in content.items()))


@bounded
@given(st.text(alphabet="ab=[]{}\"'\\\n.,-_0123456789#*", max_size=60))
def test_texts_that_look_like_toml(text: str) -> None:
    load(text)


@bounded
@given(
    st.text(max_size=30)
    | st.sampled_from(["..", "../x", "a/b", "/etc", ".git", "-x", "a\0b", "a\n", "C:\\x", "~", "é"])
)
def test_no_name_leaves_the_folder_of_runs(name: str) -> None:
    """Names and scales of grids, presets, data sets and keys of cells become paths: they cannot lead elsewhere."""
    load(f"name = {toml(name)}\ndataset = 'digits'\nmodel = 'cnn'")
    load(f"name = 'g'\nscale.{toml(name)}.rounds = 1")
    with only_user_errors():
        CellSpec(dataset=name)
        assert re.fullmatch(r"[a-z0-9-]+", name)
    store = RunStore(Path("run"))
    with only_user_errors():
        store.status(name)
        assert re.fullmatch(r"[0-9a-f]{16}", name)


@pytest.mark.parametrize("command", [("data", "show"), ("grid", "--preset"), ("regress", "--preset"), ("plot", "data")])
@pytest.mark.parametrize("name", ["../up", "/up", "a/../../up", ".", "..", "up\0"])
def test_commands_whose_arguments_name_files(command: tuple[str, ...], name: str, place: Path) -> None:
    assert run(*command, name).code == 2
    assert sorted(path.name for path in place.parent.iterdir()) == ["work"]
    assert sorted(path.name for path in place.iterdir()) == ["cache", "data"]


@bounded
@given(st.text(max_size=30), st.sampled_from(["int", "float", "bool", "str", "tuple[int, ...] | None", "Literal['a']"]))
def test_values(text: str, annotation: str) -> None:
    for read in (split_list, parse_choice, lambda text: convert(text, annotation, "x")):
        with only_user_errors():
            read(text)


# --- LaTeX ----------------------------------------------------------------------------------------------------------

KNOWN = re.compile(
    r"\\text(?:backslash|asciitilde|asciicircum|quotedbl|endash)\{\}|\$\\(?:pm|times)\$|\\[&%$#_{}]|\{[\[\]]\}|-\{\}(?=-)"
)


@bounded
@given(st.text() | st.text(alphabet="\\{}$&#^_~%[]-\"'`ab\n\0"))
@example("\\input{/etc/passwd}%\n$x$ ^ ~ \\\\[1cm] --- \x1b")
def test_no_text_is_a_command_of_latex(text: str) -> None:
    """What is left beside the sequences that stand for one sign has no meaning to LaTeX."""
    found = escape(text)
    assert not set(KNOWN.sub("", found)) & set('\\{}$&#^_~%[]"')
    assert found.isprintable()
