"""The Ray executor on real nodes, with a fake simulator; tests/unit/test_executors.py says what it does with jobs."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import fake_simulator as fake
import pytest

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.execution.executors import ray
from clipfed_bench.execution.jobs import plan
from clipfed_bench.execution.ray_cluster import Cluster, alive, connected
from clipfed_bench.execution.worker import Settings

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


def execute(seeds, folder, address, cell_timeout=None, gpus_per_cell=None, **environment):
    cells = [
        CellSpec(dataset="digits", model="cnn", warmup_rounds=0, seed=seed, target=t) for t, seed in enumerate(seeds)
    ]
    settings = Settings(Environment(warmup_dir=folder, **environment), folder / "logs", "fake_simulator", cell_timeout)
    return ray.execute(plan(cells), None, settings, Cluster(address, gpus_per_cell, lateness=0.0))


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


def test_closing_ends_workers_and_leaves_the_cluster(ray_nodes, tmp_path):
    ray_nodes.add()
    handler = signal.getsignal(signal.SIGTERM)
    pid = 0
    with closing(execute([fake.OK, fake.HANG, fake.HANG], tmp_path, ray_nodes.address)) as events:
        hanging = 0
        for event in events:
            hanging += event.kind == "step" and event.job.spec.seed == fake.HANG
            pid = int(event.outcome.provenance["pid"]) if event.outcome else pid
            if hanging == 2:
                break
        assert is_running(pid)
        assert signal.getsignal(signal.SIGTERM) is handler
    assert wait_until(lambda: not is_running(pid))
    assert list(tmp_path.iterdir()) == []
    with connected(Cluster(ray_nodes.address)) as again:
        assert len(alive(again)) == 2
        assert wait_until(lambda: again.available_resources().get("CPU") == 2.0)


def test_a_node_that_does_not_see_the_data_is_named(ray_nodes, tmp_path):
    with pytest.raises(UserError, match=f"--data-dir: node {socket.gethostname()} does not see {tmp_path}/absent; it"):
        list(execute([fake.OK], tmp_path, ray_nodes.address, data_dir=tmp_path / "absent"))


def test_a_cell_that_hangs_is_stopped_and_says_where_it_was(ray_nodes, tmp_path):
    events = list(execute([fake.HANG, fake.OK, fake.OK], tmp_path, ray_nodes.address, cell_timeout=2.0))
    ends = {e.job.spec.target: e for e in events if e.kind in ("done", "failed")}
    assert [ends[target].kind for target in range(3)] == ["failed", "done", "done"]
    failure = ends[0].failure
    assert failure.error == "it was stopped after round 0 of 300: it took longer than the 2 seconds of --cell-timeout"
    assert "in run_cell" in failure.traceback, "the stack that it hung in"
    assert 2.0 < ends[0].seconds < 8.0


def test_two_cells_share_a_gpu(ray_nodes, tmp_path):
    with ray_nodes.one_more(num_cpus=3, num_gpus=1):
        cells = execute([fake.MEET, fake.MEET, fake.OK], tmp_path, ray_nodes.address, None, 0.5, device="cuda")
        facts = [e.outcome.provenance for e in cells if e.outcome]
    assert [fact["gpus"] for fact in facts] == ["0"] * 3
    assert len({fact["pid"] for fact in facts}) == 2, "half a GPU each: no room for a third"


def test_a_runner_that_cannot_be_imported_fails_its_cells(ray_nodes, tmp_path):
    settings = Settings(Environment(warmup_dir=tmp_path), tmp_path / "logs", "no_such_module")
    events = list(
        ray.execute(
            plan([CellSpec(dataset="digits", model="cnn", warmup_rounds=0)]), 1, settings, Cluster(ray_nodes.address)
        )
    )
    assert [e.failure.error for e in events if e.kind == "failed"] == [
        "ModuleNotFoundError: No module named 'no_such_module'"
    ]
