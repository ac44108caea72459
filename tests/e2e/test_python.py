"""Grids from Python: the documentation's own code as a script, a run that is interrupted, mistakes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clipfed_bench import UserError, grid, load_run, run_grid

ROOT = Path(__file__).parents[2]
TINY = {
    "dataset": "digits",
    "model": "cnn",
    "warmup_rounds": 0,
    "clients": 20,
    "clients_per_round": 2,
    "malicious": 0.5,
    "rounds": 1,
    "local_epochs": 1,
}


def test_the_documentation_runs_as_a_script_without_a_guard(tmp_path):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.+?)^```$", page, re.M | re.S)
    assert len(blocks) == 4
    (tmp_path / "script.py").write_text("\n".join([*blocks, "print(run.results.status.tolist())"]))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CLIPFED_BENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['done', 'done']\n"
    assert "1 of 1 cells: 100%" in done.stderr
    assert (tmp_path / "results" / "runs" / "mine" / "history.parquet").exists()


def test_an_interrupt_is_raised_when_what_is_done_is_stored_and_the_same_call_goes_on(tmp_path):
    def stop(board):
        if board.done == 1:
            raise KeyboardInterrupt

    cells = grid(**TINY, seed=range(2))
    with pytest.raises(KeyboardInterrupt, match=r"Cells that are done are stored; to go on:\n  the same call of "):
        run_grid(cells, tmp_path, device="cpu", workers=1, progress=stop)
    assert len(load_run(tmp_path).results) == 1
    shares = []
    run = run_grid(cells, tmp_path, device="cpu", workers=1, progress=lambda board: shares.append(board.share))
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert list(run.results.status) == ["done"] * 2
    assert set(run.history["key"]) == {cell.key for cell in cells.cells}


def test_a_failed_cell_is_a_row_and_a_warning(tmp_path):
    cells = grid(**TINY, attack="badnets[row=31]").cells
    with pytest.warns(UserWarning, match="1 of 1 cells failed; the first: badnets: .*row 31"):
        run = run_grid(cells, tmp_path, device="cpu")
    assert list(run.results.status) == ["failed"]
    with pytest.warns(UserWarning, match="1 of 1 cells failed"):
        assert len(run_grid(cells, tmp_path, device="cpu", skip_failed=True).results) == 1


def test_grids_are_those_of_the_command_line():
    assert grid(preset="smoke", attack="dba", seeds=2).cells[0].attack.component.name == "dba"
    assert [cell.alpha for cell in grid(alpha=(0.1, 0.5)).cells] == [0.1, 0.5]
    assert len(grid(preset="smoke").cells) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "smok"}, "Did you mean 'smoke'"),
        ({"preset": "smoke", "config": "x.toml"}, "are both given"),
        ({"config": "absent.toml"}, "absent.toml: there is no such file"),
        ({"alfa": 0.1}, "unknown key 'alfa'. Did you mean 'alpha'"),
        ({"alpha": [0.1, "x"]}, "alpha: 'x' is not a number"),
        ({"seed": 0, "seeds": 2}, "seed and seeds are both given"),
        ({"alpha": []}, "alpha: the list is empty"),
    ],
)
def test_mistakes_in_a_grid(settings, message):
    with pytest.raises(UserError, match=message):
        grid(**settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"workers": 0}, "--workers: 0 is too small; at least 1 is needed"),
        ({"data_dir": "absent"}, "--data-dir: there is no folder absent"),
        ({"steps": "graph", "device": "cpu"}, "--steps: graph is for GPUs"),
    ],
)
def test_mistakes_in_a_run_write_nothing(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        run_grid(grid(**TINY), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="there is no run folder"):
        load_run(tmp_path / "run")
