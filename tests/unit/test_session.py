"""A grid in a run folder that has seen trouble: full disks, broken files, killed processes, a second grid."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from pathlib import Path

import fake_simulator as fake
import pandas as pd
import pytest
from watching import fake_session, run

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.notices import shown_by
from clipfed_bench.execution.session import Interrupted
from clipfed_bench.runs.folder import held


def cells(*seeds, **values):
    return [
        CellSpec(**{"dataset": "digits", "model": "cnn", "warmup_rounds": 0, "seed": seed, **values})
        for seed in seeds or (0,)
    ]


def grid(folder, wanted):
    """Run ``wanted``; the session."""
    session = fake_session(wanted, folder)
    run(session)
    return session


def done(session):
    """Seeds and targets of the cells that are done, as the account has them, in this and earlier runs."""
    by_key = {cell.key: (cell.seed, cell.target) for cell in session.cells}
    lines = [json.loads(line) for line in session.account.path.read_text().splitlines()]
    return [by_key[line["job"]] for line in lines if line["event"] == "done" and line["stage"] == "cell"]


def wanted(count=3):
    return [CellSpec(dataset="digits", model="cnn", warmup_rounds=0, target=target) for target in range(count)]


def test_a_second_grid_on_the_folder_is_refused_and_changes_nothing(tmp_path):
    session = fake_session(wanted(), tmp_path)
    with held(tmp_path, "mine"), pytest.raises(UserError, match=f"is in use by process {os.getpid()} on .* .mine."):
        run(session)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock"]
    grid(tmp_path, wanted())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_ask_to_stop_end_workers_and_say_how_to_go_on(tmp_path, number):
    session = fake_session([*cells(fake.OK), *cells(fake.ORPHAN)], tmp_path, warmups=tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it

    def wait_and_ask():
        while not (tmp_path / "pid").exists():  # the second cell runs
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait_and_ask, daemon=True).start()
    try:
        with pytest.raises(Interrupted, match=r"Cells that are done are stored; to go on:\n  the same command"):
            run(session)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [session.store.status(cell.key) for cell in session.cells] == ["done", None]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert not (tmp_path / "logs").exists()


def test_what_workers_have_to_say_is_said_once(tmp_path):
    said, session = [], fake_session([*cells(fake.NOTICE), *cells(fake.NOTICE, target=1)], tmp_path, 2)
    with shown_by(said.append):
        run(session)
    assert said == ["something to know"]
    lines = [json.loads(line) for line in session.account.path.read_text().splitlines()]
    assert [line["note"] for line in lines if line["event"] == "notice"] == said * 2


def test_what_another_grid_did_meanwhile_is_not_done_again(tmp_path):
    late = fake_session(wanted(), tmp_path)
    assert len(late.todo) == 3
    grid(tmp_path, wanted(2))
    assert run(late).stock.done == 2
    assert done(late) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_more_stops_the_grid_which_goes_on_later(tmp_path, monkeypatch, number):
    real, names = os.fsync, []

    def full_after_the_first_cell(descriptor):
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        cells = [name for name in names if ".json." in name and "holder" not in name and "sources" not in name]
        if len(cells) > 1:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_the_first_cell)
    with pytest.raises(UserError) as caught:
        grid(tmp_path, wanted())
    message = str(caught.value)
    assert f"cannot be written: {os.strerror(number)}." in message
    assert "Cells that are done are stored; to go on:\n  the same command" in message
    stored = sorted(path.suffix for path in (tmp_path / "cells").iterdir())
    assert stored == [".json", ".parquet", ".parquet"], "a second result without its json does not count"
    monkeypatch.undo()
    session = grid(tmp_path, wanted())
    session.store.export()
    assert done(session) == [(0, 0), (0, 1), (0, 2)], "the first one once, and the second now that it is stored"
    assert len(pd.read_parquet(tmp_path / "results.parquet")) == 3


def test_a_folder_for_logs_that_cannot_be_made_is_a_clean_error(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(UserError, match="logs cannot be made: File exists"):
        grid(tmp_path, wanted(1))


DAMAGES = {
    "json cut off": ("json", lambda content: content[: len(content) // 2]),
    "json empty": ("json", lambda content: b""),
    "json foreign": ("json", lambda content: b'{"format": 1, "key": "another"}'),
    "json of nothing": ("json", lambda content: b"[]"),
    "json not text": ("json", lambda content: b"\xff\xfe\x00"),
    "parquet cut off": ("parquet", lambda content: content[:-1]),
    "parquet empty": ("parquet", lambda content: b""),
    "parquet with another byte": ("parquet", lambda content: content[:50] + bytes([content[50] ^ 1]) + content[51:]),
    "parquet of something else": ("parquet", lambda content: b"PAR1" + b"\0" * 40 + b"\4\0\0\0PAR1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_file_is_said_and_its_cell_run_again(tmp_path, damage):
    first = grid(tmp_path, wanted(2))
    suffix, change = DAMAGES[damage]
    path = tmp_path / "cells" / f"{wanted(2)[1].key}.{suffix}"
    path.write_bytes(change(path.read_bytes()))
    session = fake_session(wanted(2), tmp_path)
    (broken,) = run(session).stock.broken
    assert f"{path.stem}.json or .parquet cannot be used" in broken
    session.store.export()
    assert done(session) == [(0, 0), (0, 1), (0, 1)]
    assert len(pd.read_parquet(first.store.folder / "history.parquet")) == 2


def test_what_killed_processes_left_is_gone_at_the_next_start(tmp_path):
    cell, other = wanted(2)
    grid(tmp_path, [cell])
    part = tmp_path / "cells" / f".{other.key}.json.{'0' * 32}.tmp"
    part.write_text("half")
    (tmp_path / "checkpoints").mkdir()
    for one in (cell, other):
        (tmp_path / "checkpoints" / f"{one.key}.safetensors").touch()
    seen = []
    session = fake_session([cell, other], tmp_path)
    run(session, lambda event: seen.append(sorted(p.stem for p in (tmp_path / "checkpoints").glob("*"))))
    assert not part.exists()
    assert seen[0] == [other.key], "what is to do goes on from it"
    assert seen[-1] == [], "and drops it when it is stored"
    assert not (tmp_path / "checkpoints").exists()


def test_what_workers_left_that_were_killed_is_gone_at_the_end(tmp_path):
    parts = [tmp_path / folder / f".one.safetensors.{'0' * 32}.tmp" for folder in ("checkpoints", "prefixes")]

    def leave(event):
        for part in parts:
            part.parent.mkdir(exist_ok=True)
            part.write_text("half")

    run(fake_session(wanted(1), tmp_path), leave)
    assert not any(part.parent.exists() for part in parts)


def test_a_cell_without_memory_is_stored_only_when_it_failed_alone_too(tmp_path):
    session = fake_session(cells(fake.MEMORY_ONCE, fake.MEMORY), tmp_path, 2, warmups=tmp_path)
    assert [event.kind for event in run(session).events].count("retried") == 2
    statuses = session.store.statuses(cell.key for cell in session.cells)
    assert list(statuses.values()) == ["done", "failed"]
    ((cell, error),) = session.failures().items()
    assert cell.seed == fake.MEMORY
    assert "tried twice, the second time alone" in error


def test_a_cell_that_hangs_is_stored_as_failed_and_the_grid_goes_on(tmp_path):
    session = fake_session([*cells(fake.HANG), *wanted(2)], tmp_path, cell_timeout=5)
    run(session)
    assert [session.store.status(cell.key) for cell in session.cells] == ["failed", "done", "done"]
    error, traceback = session.store.failure(session.cells[0].key)
    assert "took longer than the 5 seconds of --cell-timeout" in error
    assert "Its last output" in traceback
