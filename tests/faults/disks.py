"""Disks that are really full, or really read-only: small ones in memory, which only root can mount.

Run by ``make faults``; not part of the usual tests, which simulate them.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from makers.specs import cell
from watching import fake_session, run

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.simulator.cell import run_cell

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk, room=0):
    """Fill ``disk`` but for ``room`` bytes; the file that does."""
    filler = disk / "filler"
    with closing(filler.open("wb", buffering=0)) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - room))
    return filler


def session(folder, count=4):
    cells = [cell(target=target) for target in range(count)]
    return fake_session(cells, folder)


def whole(wanted):
    """Statuses of all cells, after a look for files that are not what they should be."""
    assert not list(wanted.store.folder.rglob(".*.tmp"))
    assert wanted.store.broken(wanted.keys) == []
    return [wanted.store.status(key) for key in wanted.keys]


@pytest.mark.parametrize("room", [0, 8192, 16384, 24576, 32768])
def test_a_full_disk_stops_the_grid_which_goes_on_when_there_is_room(disk, room):
    filler, wanted = fill(disk, room), session(disk / "run")
    with pytest.raises(UserError, match="No space left on device"):
        run(wanted)
    before = whole(wanted)
    assert before.count("done") == before.index(None) if None in before else True
    filler.unlink()
    run(session(disk / "run"))
    assert whole(wanted) == ["done"] * 4


def test_a_read_only_disk_is_a_clean_error(disk):
    (disk / "run").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(UserError, match="cannot be written: Read-only file system"):
        run(session(disk / "run"))
    with pytest.raises(UserError, match="cannot be made: Read-only file system"):
        run(session(disk / "new"))


def test_a_disk_without_room_for_checkpoints_costs_safety_and_not_the_cell(disk, tmp_path):
    fill(disk)
    spec = cell(clients=90, clients_per_round=2, rounds=3, local_epochs=1, batch_size=16)
    env, notes = Environment(warmup_dir=tmp_path), []
    full = replace(env, checkpoint_dir=disk / "checkpoints", checkpoint_every=1)
    result = run_cell(spec, full, lambda progress: notes.append(progress.note))
    assert [note for note in notes if note] == [notes[1]]
    assert "warning: no checkpoint: " in notes[1]
    assert "No space left on device" in notes[1]
    assert result.final["mta"] == run_cell(spec, env).final["mta"]
