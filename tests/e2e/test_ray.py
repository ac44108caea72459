"""Grids on a real Ray: on a cluster of two nodes of which one is killed, and on what the command starts by itself."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest
from test_cli_grid import call, cells, numbers, start

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

GRID = ("grid", "--preset", "smoke", "--rounds", 4, "--device", "cpu", "--out", "run")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_a_grid_that_loses_a_node_has_the_numbers_of_the_pool(ray_nodes, tmp_path):
    ray_nodes.add()
    pool, cluster = tmp_path / "pool", tmp_path / "ray"
    for folder in (pool, cluster):
        folder.mkdir()
    code, out, err = call(*GRID, "--workers", 1, cwd=pool)
    assert code == 0, out + err

    process = start(*GRID, "--executor", "ray", "--address", ray_nodes.address, cwd=cluster)
    assert process.stdout is not None
    out, before = "", {}
    for line in process.stdout:
        out += line
        under_way = len(re.findall(r"\] started ", out)) - len(re.findall(r"\] done ", out))
        if under_way == 2 and re.match(r"\[[1-9]/4\] started", line) and not before:  # a cell on each node
            before = {path: path.stat().st_mtime_ns for path in (cluster / "run" / "cells").iterdir()}
            ray_nodes.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert err == ""
    assert before, "the node was never killed"
    retried = re.findall(r"\] retried +(.*): node (\S+) died$", out, re.M)
    assert [host for _, host in retried] == [socket.gethostname()]
    assert len(re.findall(r"\] started ", out)) == len(re.findall(r"\] done ", out)) + 1
    done = re.findall(r"\] done +(digits.*?): MTA", out)
    assert len(done) == len(set(done)) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was stored is not computed again"
    assert len(cells(cluster / "run")) == 4
    assert numbers(cluster / "run") == numbers(pool / "run")
    assert not (cluster / "run" / "logs").exists()

    code, out, err = call(*GRID, "--executor", "ray", "--address", "127.0.0.1:1", cwd=cluster)
    assert code == 0, "nothing is to do, so nobody is asked"
    assert "4 of 4 cells are done already." in out


def test_a_ray_that_was_started_for_a_grid_is_gone_after_an_interrupt(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    folder = tempfile.mkdtemp(prefix="ray")  # short: the paths of sockets are in it
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("HOME", str(tmp_path))

    def processes():
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                found += [path.parent.name] if folder in path.read_text() else []
            except OSError:
                continue
        return [pid for pid in found if is_running(int(pid))]

    try:
        process = start(*GRID, "--executor", "ray", "--workers", 1, "--rounds", 1000, cwd=tmp_path)
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"\[0/4\] started  digits", line):
                break
        assert len(processes()) > 2
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, out + err
        assert err.startswith("Interrupted. Cells that are done are stored; to go on:")
        assert wait_until(lambda: not processes()), processes()
        assert not (tmp_path / "run" / "logs").exists()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_no_cluster_is_one_clean_message_and_nothing_is_written(tmp_path):
    pytest.importorskip("ray")
    code, out, err = call(*GRID, "--executor", "ray", "--address", "127.0.0.1:1", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("Error: --address: there is no Ray cluster at 127.0.0.1:1 (")
    assert list(tmp_path.iterdir()) == []
