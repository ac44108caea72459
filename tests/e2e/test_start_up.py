"""The command line starts without the libraries that take seconds to import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "pandas", "sklearn", "scipy", "open_clip", "matplotlib", "numpy", "pyarrow", "jinja2")


def _seconds(code):
    """Of CPU that it takes to run ``code``, which says on stderr which heavy libraries it has imported."""
    begin = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    end = os.times()
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]\n"
    assert done.stdout
    return end.children_user + end.children_system - begin.children_user - begin.children_system


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["--version"], ["list", "--help"], ["bench", "--help"], ["grid", "--help"]),
        *(["run", "--help"], ["plot", "--help"]),
        *(["list", kind] for kind in ("attacks", "defenses", "datasets", "models", "metrics", "presets", "teachers")),
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(arguments):
    code = (
        "import sys\n"
        "from clipfed_bench.cli.main import app\n"
        f"try:\n    app({arguments!r}, prog_name='clipfed-bench')\n"
        f"finally:\n    print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)\n"
    )
    # Half a second where nothing else runs; a core that others use, too, may be slow for a while.
    assert any(_seconds(code) < 2 for _ in range(3))


def test_a_grid_from_python_is_made_without_them():
    code = "import sys, clipfed_bench\nbefore = set(sys.modules)\n"
    code += "from clipfed_bench import grid, load_run, run_grid\ncells = grid(preset='smoke', alpha=[0.1, 0.5])\n"
    code += f"print(len(cells.cells), sorted(set({HEAVY}) & set(sys.modules)), 'clipfed_bench.execution' in before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "8 [] False\n", done.stderr
