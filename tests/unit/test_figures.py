"""Figures are the same whatever a user's environment and matplotlibrc set, and leave all that as it was."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from clipfed_bench.core.figures import FORMATS, drawing, rendered

DRAW = """
import hashlib, sys
from pathlib import Path
import numpy as np
import clipfed_bench.data.heat_map as heat_map
from clipfed_bench.core.figures import drawing, load_matplotlib
from clipfed_bench.report.plots import panels, style
from clipfed_bench.report.plots.inline_svg import drawing_inline, inline_svg

here = Path(sys.argv[1])
def draw():
    figure, ((axes,),) = panels.grid(1, 1, 2.0, ["a $x"])
    axes.plot([0, 1, 2], [3, 1, 2], label="a $x")
    axes.set_title("100 % of $5_000 & more")
    panels.place_legend(figure, *axes.get_legend_handles_labels())
    return figure
with style.drawing():
    style.save(draw(), here, "figure", style.FORMATS)
with drawing_inline():
    (here / "inline.svg").write_text(inline_svg(draw(), "a", "p"))
heat_map.save_heat_map(np.arange(6).reshape(3, 2), ["cat", "dog"], "who_has $what", here / "heat.svg")
for path in sorted(here.iterdir()):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""
RC = """
backend: no_such_backend
text.usetex: True
font.family: No Such Font
font.size: 31
figure.facecolor: black
figure.dpi: 30
savefig.format: jpg
savefig.bbox: tight
axes.prop_cycle: cycler('color', ['r'])
axes.formatter.use_locale: True
svg.fonttype: none
path.sketch: 3, 9, 9
lines.linewidth: 9
"""


def test_nothing_that_a_user_sets_changes_a_figure_or_prevents_one(tmp_path, monkeypatch, capsys):
    for name in ("plain", "strange"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "argv", ["", tmp_path / "plain"])
    exec(DRAW, {})
    plain = capsys.readouterr().out
    drawn = [line.split()[0] for line in plain.splitlines()]
    assert drawn == ["figure.pdf", "figure.png", "figure.svg", "heat.svg", "inline.svg"]
    (tmp_path / "matplotlibrc").write_text(RC)
    strange = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "SOURCE_DATE_EPOCH": "1", "LC_ALL": "C"}
    strange |= {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    code = f"{DRAW}assert not {{'matplotlib.pyplot', 'torch'}} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "strange"], env=os.environ | strange, capture_output=True, text=True
    )
    assert done.stdout == plain, done.stderr


def test_what_a_user_has_set_is_there_afterwards(monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "font.size", 31.0)
    before = dict(matplotlib.rcParams)
    with drawing({"lines.linewidth": 3.0}):
        assert matplotlib.rcParams["font.size"] == 10
        assert matplotlib.rcParams["lines.linewidth"] == 3
    with pytest.raises(KeyError), drawing():
        raise KeyError
    assert dict(matplotlib.rcParams) == before


def test_a_backend_that_is_there_stays_chosen_for_others():
    code = "import os; from clipfed_bench.core.figures import load_matplotlib as load; m = load()\n"
    code += "print(m.rcParams['backend'], os.environ['MPLBACKEND'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"MPLBACKEND": "svg"}, capture_output=True, text=True
    )
    assert done.stdout == "svg svg\n", done.stderr


def test_a_matplotlibrc_that_is_no_text_is_not_read(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes("font.size: 31".encode("utf-16"))
    code = "import os; from clipfed_bench.core.figures import load_matplotlib as load; m = load()\n"
    code += "from matplotlib.figure import Figure; print(m.rcParams['font.size'], os.environ['MATPLOTLIBRC'])"
    rc = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLBACKEND": "no_such_backend"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | rc, capture_output=True, text=True)
    assert done.stdout == f"10.0 {tmp_path}/matplotlibrc\n", done.stderr


@pytest.mark.parametrize("format", FORMATS)
def test_a_format_is_drawn_by_its_own_backend(format, monkeypatch):
    from matplotlib import backend_bases
    from matplotlib.figure import Figure

    monkeypatch.setitem(backend_bases._default_backends, format, "no.such.module")
    starts = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}
    assert rendered(Figure(), format).startswith(starts[format])
