"""How Hypothesis runs, and a Ray cluster on this machine for the tests that are marked ``ray``."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from clipfed_bench.execution import nursery
from clipfed_bench.execution.executors import local

# An example that takes long is no fault on a machine that does other work.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

TESTS = Path(__file__).parent
# Tests have cache folders of their own, and compiling kernels for each would take longer than they do.
os.environ.setdefault("NUMBA_CACHE_DIR", str(TESTS.parent / ".pytest_cache" / "kernels"))

# What pytest says of each test is for nobody else.
nursery.LATE += ("PYTEST_",)
local.FORKED.add("fake_simulator")

collect_ignore = ["plugin"]  # a package with tests of its own, which e2e/test_plugin.py installs


class RayNodes:
    """A cluster of two nodes with one CPU each, one of them its head; the other may be killed, and added again."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        paths = [str(TESTS.parent), str(TESTS / "unit"), os.environ.get("PYTHONPATH", "")]
        self._environment = {"RAY_TMPDIR": folder, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._options = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        # A node that is dead is noticed sooner than by default; one that is slow on a busy machine is not taken for it.
        noticing = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
        noticing |= {"agent_register_timeout_ms": 300_000, "worker_register_timeout_seconds": 300}
        self._cluster = Cluster()
        self._start(_system_config=noticing)
        self._other = self._start()

    def _start(self, **more):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._environment.items():
                patch.setenv(name, value)
            try:
                return self._cluster.add_node(**self._options | more)
            except Exception:  # Ray waits half a minute for its processes, not much on a machine that is overloaded
                return self._cluster.add_node(**self._options | more)

    @property
    def address(self) -> str:
        return self._cluster.address

    def add(self) -> None:
        """Replace the node if it was killed."""
        if self._other is None:
            self._other = self._start()

    def kill(self) -> None:
        """Kill every process of the node that is not the head, as a power failure does."""
        self._cluster.remove_node(self._other, allow_graceful=False)
        self._other = None

    @contextlib.contextmanager
    def one_more(self, **resources):
        """Another node with ``resources`` instead of one CPU, and, as Ray only counts them, GPUs that are not there."""
        node = self._start(**resources)
        try:
            yield
        finally:
            self._cluster.remove_node(node)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def ray_nodes():
    """Two nodes, for the whole session, as it takes seconds to start them."""
    pytest.importorskip("ray")
    # Short, since the paths of sockets are in it; never the folder in which a user's own Ray is looked for.
    folder = tempfile.mkdtemp(prefix="ray")
    try:
        nodes = RayNodes(folder)
        try:
            yield nodes
        finally:
            nodes.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
