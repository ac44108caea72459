"""What the command line says of a run, and its exit statuses."""

from __future__ import annotations

import re
import sys

import fake_simulator as fake
import pytest
import typer
from watching import fake_session

from clipfed_bench.cli import running
from clipfed_bench.cli.running import show_run
from clipfed_bench.config.cell_spec import CellSpec


@pytest.fixture(autouse=True)
def typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["clipfed-bench", "grid", "--out", "my run"])


def session(folder, *seeds):
    return fake_session([CellSpec(dataset="digits", model="cnn", warmup_rounds=0, seed=seed) for seed in seeds], folder)


def test_a_run_is_shown_from_beginning_to_tables(tmp_path, capsys):
    assert show_run(session(tmp_path, fake.OK))
    assert show_run(session(tmp_path, fake.OK, fake.SLOW))
    out, err = capsys.readouterr()
    said = [re.sub(r"\d+\.\d s", "TIME", line) for line in out.splitlines() if line.startswith(("[", "1 of", "wrote"))]
    wrote = [f"wrote {tmp_path}/{name}" for name in ("table.tex", "table.md", "table.csv")]
    wrote += [f"wrote {tmp_path}/{name}.parquet" for name in ("results", "history")]
    first, second = (f"digits α=0.5 badnets fedavg seed {seed}" for seed in (fake.OK, fake.SLOW))
    done = "MTA 50.0 ASR 25.0 in TIME"
    assert said[:3] == [f"[0/1] started  {first}", f"[1/1] done     {first}: {done}", said[2]]
    assert said[2].startswith("1 of 1 cells are done; this run took 0:0")
    assert said[3:8] == wrote
    again = ["1 of 2 cells are done already.", f"[1/2] started  {second}", f"[2/2] done     {second}: {done}"]
    assert said[8:] == [*again, *wrote]
    assert err == ""


def test_an_interrupted_run_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def stop(board, write, rounds):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "PlainDisplay", stop)
    with pytest.raises(typer.Exit) as caught:
        show_run(session(tmp_path, fake.OK))
    assert caught.value.exit_code == 130
    said = "Interrupted. Cells that are done are stored; to go on:\n  clipfed-bench grid --out 'my run'\n"
    assert capsys.readouterr() == ("", said)


def test_failures_and_broken_files_are_said_even_if_it_is_quiet(tmp_path, capsys):
    (tmp_path / "cells").mkdir()
    wanted = session(tmp_path, fake.OK, fake.CRASH)
    (tmp_path / "cells" / f"{wanted.keys[0]}.json").write_text("[]")
    assert not show_run(wanted, quiet=True, tables=False)
    out, err = capsys.readouterr()
    assert out == ""
    warning, *rest = err.splitlines()
    assert warning.startswith(f"warning: {tmp_path}/cells/{wanted.keys[0]}.json or .parquet cannot be used: ")
    assert warning.endswith("; the cell is run again")
    assert rest == [
        "1 of 2 cells failed.",
        "digits α=0.5 badnets fedavg seed 1: ValueError: numbers do not fit",
        f"Tracebacks: {tmp_path}/cells/KEY.json. The same command tries them again.",
    ]


def test_a_reason_is_told_once_wherever_failures_are_shown(tmp_path, capsys):
    wanted = [CellSpec(dataset="cifar100", model="cnn", warmup_rounds=0, seed=seed, target=0) for seed in (0, 1)]
    assert not show_run(fake_session(wanted, tmp_path), tables=False)
    out, err = capsys.readouterr()
    assert out.count("nothing to download it from") == 1
    assert err.startswith("2 of 2 cells failed.\n")
    said = " and 1 other: the data set that it needs failed: nothing to download it from "
    assert " ".join(err.split()).count(said) == 1
