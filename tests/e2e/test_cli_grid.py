"""The command line on real cells: a tiny grid on digits, alone and in a pool, failing, interrupted, and again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from terminal import cli

ROOT = Path(__file__).parents[2]
TIMES = [f"seconds_{part}" for part in ("local", "attack", "defense", "purify", "eval")]


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "clipfed_bench", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "CLIPFED_BENCH_CACHE": str(cwd / "cache"), "COLUMNS": "120"}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests may run in the background of a shell, which makes children ignore what Ctrl-C sends.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def call(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    done = cli(*arguments, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def _live_group(stat: Path) -> str:
    """Group of the process that a file of /proc is about; nothing for one that is dead."""
    try:
        state, _, group = stat.read_text().rpartition(") ")[2].split()[:3]
    except OSError:
        return ""
    return "" if state == "Z" else group


def alive_in_group(group: int) -> bool:
    """Whether a process of ``group`` lives on for two seconds; one that is dead but not reaped does not count."""
    for _ in range(20):
        if not any(_live_group(path) == str(group) for path in Path("/proc").glob("[0-9]*/stat")):
            return False
        time.sleep(0.1)
    return True


def cells(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (folder / "cells").glob("*.json")}


def numbers(folder: Path) -> dict[str, tuple]:
    """What each cell came to, but for times."""
    found = {}
    for key, cell in cells(folder).items():
        history = pd.read_parquet(folder / "cells" / f"{key}.parquet")
        final = {k: v for k, v in cell["final"].items() if k not in TIMES}
        found[key] = (cell["spec"], final, history.drop(columns=TIMES).to_csv())
    return found


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke grid, run by two workers; its folder and what was printed."""
    cwd = tmp_path_factory.mktemp("smoke")
    process = start("grid", "--preset", "smoke", "--workers", 2, "--device", "cpu", cwd=cwd)
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, out + err
    return cwd, out


def test_a_grid_runs_to_its_tables(smoke):
    cwd, out = smoke
    folder = cwd / "results" / "runs" / "smoke"
    results, history = (pd.read_parquet(folder / f"{name}.parquet") for name in ("results", "history"))
    assert list(results.status) == ["done"] * 4
    assert set(zip(results.attack, results.defense, strict=True)) == {
        (a, d) for a in ("badnets", "dba") for d in ("fedavg", "krum")
    }
    assert results[["mta", "asr"]].stack().between(0, 1).all()
    assert history.groupby("key")["round"].apply(list).map(lambda rounds: rounds == [0, 1, 2]).all()
    assert len(list((folder / "warmups").iterdir())) == 1, "cells that differ in attack and defense share the warm-up"
    for name in ("table.tex", "table.md", "table.csv", "results.parquet", "history.parquet"):
        assert (folder / name).stat().st_size > 0
        assert f"wrote {Path('results/runs/smoke') / name}" in out
    assert not (folder / "logs").exists()
    assert "\x1b" not in out
    assert len(re.findall(r"^\[\d/4\] started ", out, re.M)) == 5
    assert len(re.findall(r"^\[\d/4\] done .*: MTA [\d.]+ ASR [\d.]+ in [\d.]+ s", out, re.M)) == 4
    assert "4 of 4 cells are done; this run took" in out
    assert re.search(r"badnets .*[\d.]+ / [\d.]+", out), "a table on the screen"


def test_done_cells_are_skipped_and_nothing_is_started_for_them(smoke):
    cwd, _ = smoke
    folder = cwd / "results" / "runs" / "smoke"
    before = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    code, out, _ = call("grid", "--preset", "smoke", cwd=cwd)
    assert code == 0
    assert "4 of 4 cells are done already." in out
    assert "started" not in out
    assert {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()} == before


def test_a_dry_run_shows_cells_and_writes_nothing(smoke):
    cwd, _ = smoke
    code, out, _ = call("grid", "--preset", "smoke", "--seeds", 2, "--dry-run", "--out", "results/runs/smoke", cwd=cwd)
    assert code == 0
    assert "8 cells: 4 done, 4 to run" in out
    assert "judging by the 4 cells measured here" in out
    others = ("--precision", "bfloat16", "--out", "results/runs/smoke")
    code, out, _ = call("grid", "--preset", "smoke", "--seeds", 2, "--dry-run", *others, cwd=cwd)
    assert code == 0
    assert "rough guess" in out  # cells in float32 tell nothing of it
    code, out, _ = call("grid", "--preset", "smoke", "--dry-run", "--out", "elsewhere", cwd=cwd)
    assert code == 0
    assert "rough guess" in out
    assert not (cwd / "elsewhere").exists()


def test_a_cell_alone_has_the_numbers_of_the_pool(smoke, tmp_path):
    cwd, _ = smoke
    options = ("--preset", "smoke", "--attack", "dba", "--defense", "krum")
    code, out, err = call("run", *options, "--device", "cpu", cwd=tmp_path)
    assert code == 0, out + err
    assert len(re.findall(r"round \d/2  MTA [\d.]+  ASR [\d.]+", out)) == 3
    ((key, alone),) = numbers(tmp_path / "results" / "runs" / "run").items()
    assert alone == numbers(cwd / "results" / "runs" / "smoke")[key]


def test_an_interrupted_grid_goes_on_with_the_same_numbers(smoke, tmp_path):
    cwd, _ = smoke
    command = ("grid", "--preset", "smoke", "--defense", "krum", "--workers", 1, "--out", "run")
    process = start(*command, cwd=tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(r"\[1/2\] started", line):  # the second cell is running
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "to go on:\n  clipfed-bench grid --preset smoke" in err
    assert not alive_in_group(process.pid), "no worker is left"
    stored = numbers(tmp_path / "run")
    assert len(stored) == 1
    assert all(re.fullmatch(r"[0-9a-f]{16}\.(json|parquet)", path.name) for path in (tmp_path / "run/cells").iterdir())
    code, out, err = call(*command, cwd=tmp_path)
    assert code == 0, out + err
    assert "1 of 2 cells are done already." in out
    found, expected = numbers(tmp_path / "run"), numbers(cwd / "results" / "runs" / "smoke")
    assert len(found) == 2
    assert found == {key: expected[key] for key in found}


def test_a_failed_cell_is_a_stored_fact_and_is_tried_again(tmp_path):
    command = ("grid", "--preset", "smoke", "--warmup-rounds", 0, "--rounds", 1, "--defense", "fedavg", "--out", "run")
    command += ("--attack", "badnets[row=31],none", "--workers", 1)
    code, out, err = call(*command, cwd=tmp_path)
    assert code == 1
    assert "1 of 2 cells failed.\ndigits α=1 badnets[row=31] fedavg seed 0: badnets:" in err
    assert "Traceback (" not in out + err
    by_status = {cell["status"]: cell for cell in cells(tmp_path / "run").values()}
    assert by_status.keys() == {"done", "failed"}
    assert "UserError" in by_status["failed"]["traceback"]
    results = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert sorted(results.status) == ["done", "failed"]
    assert "row 31" in results.set_index("status").loc["failed", "error"]

    code, out, err = call(*command, "--skip-failed", cwd=tmp_path)
    assert (code, "started" in out) == (1, False)
    code, out, err = call(*command, "--dry-run", cwd=tmp_path)
    assert (code, "2 cells: 1 done, 1 to run" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("grid", "--preset", "smok"), "Error: unknown preset 'smok'. Did you mean 'smoke'?"),
        (("grid", "--attack", "badnet"), "Error: unknown attack 'badnet'. Did you mean 'badnets'?"),
        (("grid", "--attack", "badnets[sise=3]"), "Did you mean 'size'?"),
        (("grid", "--alpha", "0.1,x"), "Error: --alpha: 'x' is not a number"),
        (("grid", "--preset", "smoke", "--clients", "2"), "Error: clients_per_round: 4 is more than the 2 clients"),
        (("grid", "--data-dir", "absent"), "Error: --data-dir: there is no folder absent."),
        (("grid", "--config", "absent.toml"), "Error: absent.toml: there is no such file."),
        (("run", "--seed", "0,1"), "Error: these settings make 2 cells"),
        (("grid", "--out", "file"), "Error: --out: file is a file"),
        (("grid", "--preset", "smoke", "--out", "file/run"), "file/run cannot be made"),
    ],
)
def test_mistakes_are_one_clean_message_and_nothing_is_written(tmp_path, arguments, message):
    (tmp_path / "file").touch()
    code, out, err = call(*arguments, cwd=tmp_path)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_lists_describe_options_with_their_origin(tmp_path):
    code, out, _ = call("list", "attacks", cwd=tmp_path)
    assert code == 0
    assert re.search(r"^badnets\n +BadNets: a small bright square in the corner\.\n +size=5 .*\[lineage\]", out, re.M)
    for kind, name in {"defenses": "clip-fed", "datasets": "cifar10-lt", "models": "cnn", "teachers": "local"}.items():
        code, out, _ = call("list", kind, cwd=tmp_path)
        assert code == 0
        assert re.search(rf"^{name}\n", out, re.M)
