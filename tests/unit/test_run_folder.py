"""Run folders: held by one process, rid of what killed ones left, with an account of what happened."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import CellResult, Progress
from clipfed_bench.core.notices import shown_by
from clipfed_bench.execution.jobs import Event, Failure, Job
from clipfed_bench.execution.journal import Account
from clipfed_bench.runs import folder as run_folder

HOLD = """
import sys, time
from pathlib import Path
from clipfed_bench.runs.folder import held
with held(Path(sys.argv[1]), "clipfed-bench grid"):
    print("held", flush=True)
    time.sleep(60)
"""


def held(folder):
    return run_folder.held(folder, "clipfed-bench grid")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_folder_in_use_is_refused_and_the_holder_is_named(tmp_path, holder):
    holds = f"in use by process {holder.pid} on {socket.gethostname()} since 2"
    with pytest.raises(UserError, match=holds) as caught, held(tmp_path):
        pytest.fail("held twice")
    assert "(clipfed-bench grid)" in str(caught.value)
    assert "--out" in str(caught.value)
    (tmp_path / ".holder.json").write_text('"half')
    with pytest.raises(UserError, match="in use by another process"), held(tmp_path):
        pass


def test_the_lock_of_a_killed_process_does_not_block(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / ".holder.json").exists(), "as a killed process leaves it"
    with held(tmp_path):
        assert json.loads((tmp_path / ".holder.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".holder.json").exists()
    with held(tmp_path):
        pass


def test_an_error_inside_gives_the_folder_back(tmp_path):
    with pytest.raises(KeyError), held(tmp_path):
        raise KeyError
    with held(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_a_user_error_and_one_without_locks_is_used(tmp_path, monkeypatch):
    def refuse(error):
        def acquire(*arguments, **more):
            raise error

        monkeypatch.setattr(filelock.FileLock, "acquire", acquire)

    refuse(OSError(errno.EROFS, os.strerror(errno.EROFS)))
    with (
        pytest.raises(UserError, match="cannot be written: Read-only file system"),
        held(tmp_path),
    ):
        pass
    for number in (errno.EOPNOTSUPP, errno.ENOLCK):
        refuse(OSError(number, os.strerror(number)))
        said = []
        with shown_by(said.append), held(tmp_path):
            assert (tmp_path / ".holder.json").exists()
        assert "has no locks" in said[0]


def test_cleaning_removes_what_was_half_written_and_nothing_else(tmp_path):
    part, mine = f".x.json.{'0a' * 16}.tmp", [".x.json.tmp", ".hidden", f"x.{'0a' * 16}.tmp", "notes.txt"]
    for folder in ("", "cells", "checkpoints", "models", "warmups"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in (part, *mine, f".seen-{'0a' * 16}"):
            (tmp_path / folder / name).write_text("half")
    old = tmp_path / "warmups" / f".old.{'0b' * 16}.tmp"
    old.write_text("half")
    os.utime(old, (time.time() - 120,) * 2)
    run_folder.clean(tmp_path, [])
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    expected = {f"{folder}{name}" for folder in ("", "cells/", "checkpoints/", "models/", "warmups/") for name in mine}
    # another run may be about to finish these two
    assert left == expected | {f"warmups/{part}", f"warmups/.seen-{'0a' * 16}"}


def test_cleaning_removes_the_checkpoints_of_what_is_done(tmp_path):
    for name in ("checkpoints/a", "checkpoints/b", "checkpoints/warmup-c", "checkpoints/warmup-d", "warmups/d"):
        path = tmp_path / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    run_folder.clean(tmp_path, ["a", "not there"])
    assert sorted(path.stem for path in (tmp_path / "checkpoints").iterdir()) == ["b", "warmup-c"]
    run_folder.drop_checkpoints(tmp_path, ["b", "warmup-c"])
    assert not (tmp_path / "checkpoints").exists()
    run_folder.drop_checkpoints(tmp_path, ["b"])


def test_an_account_has_a_line_for_each_event_and_the_first_step(tmp_path):
    job, account = Job("k", "cell", CellSpec(dataset="digits", model="cnn", warmup_rounds=0)), Account(tmp_path)
    steps = [Progress("round", n, 9, note="goes on after round 3" if n == 3 else "") for n in (3, 4, 5)]
    account.write("grid", cells=2, done=0, command="")
    for event in (
        Event("started", job),
        *(Event("step", job, step=step) for step in steps),
        Event("step", job, step=Progress("round", 6, 9, note="warning: full")),
        Event("step", job, step=Progress("", 0, 0, note="no locks")),
        Event("retried", job, failure=Failure("no memory", "tb"), seconds=1.23456),
        Event("started", job),
        Event("step", job, step=steps[-1]),
        Event("done", job, outcome=CellResult([], {}, {}), seconds=2),
    ):
        account.record(event)
    lines = [json.loads(line) for line in account.path.read_text().splitlines()]
    assert all(line.pop("time").startswith("2") for line in lines)
    about = {"stage": "cell", "job": "k"}
    assert lines == [
        {"event": "grid", "cells": 2, "done": 0},
        {"event": "started", **about},
        {"event": "step", **about, "step": "round 3/9", "note": "goes on after round 3"},
        {"event": "step", **about, "step": "round 6/9", "note": "warning: full"},
        {"event": "notice", **about, "note": "no locks"},
        {"event": "retried", **about, "seconds": 1.235, "error": "no memory"},
        {"event": "started", **about},
        {"event": "step", **about, "step": "round 5/9"},
        {"event": "done", **about, "seconds": 2},
    ]


def test_an_account_that_cannot_be_written_costs_nothing_but_lines(tmp_path):
    Account(tmp_path / "absent").write("grid")
    assert list(tmp_path.iterdir()) == []
