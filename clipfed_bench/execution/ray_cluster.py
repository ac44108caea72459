"""A Ray cluster as the command sees it: connecting, and what there is room for."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.paths import cache_root
from clipfed_bench.execution.machine import Device, cores, resolve_device
from clipfed_bench.execution.worker import THREADS

# Read by Ray when it is imported: print no messages ("^" matches them all) over the progress display, upload no working
# directory when started by uv, call nobody.
_BEFORE = {"RAY_DEDUP_LOGS_SKIP_REGEX": "^", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
_OBJECTS = 100 * 2**20  # bytes; nothing but progress and results passes through Ray


@dataclass(frozen=True)
class Cluster:
    """Where cells run."""

    address: str | None = None
    """``HOST:PORT``, or ``auto`` for the one that this machine is a node of; else ``RAY_ADDRESS``. With neither, or
    with ``local``, Ray is started on this machine, and stopped in the end."""
    gpus_per_cell: float | None = None
    """Share of a GPU, in (0, 1]; 1 if not given. Without a meaning on the CPU."""
    retries: int = 3
    """How often a job may lose its node and be done again [ours]."""
    grace: float = 10.0
    """Seconds that a node may take to be known as dead after its processes died [ours]."""
    lateness: float = 5.0
    """Seconds that a shared filesystem may take to show a new file [ours]."""
    patience: float = 600.0
    """Seconds for a cluster without any suitable node to grow one [ours]."""
    tick: float = 1.0
    """Seconds after which the cluster is looked at even if no worker says anything [ours]."""
    last_words: float = 1.0
    """Seconds in which a cell whose time is over may write down where it is [ours]."""

    def __post_init__(self) -> None:
        if self.gpus_per_cell is not None and not 0 < self.gpus_per_cell <= 1:
            raise UserError(
                f"--gpus-per-cell: {self.gpus_per_cell} is not a share of one GPU, more than 0 and up to 1."
            )

    @property
    def known_as(self) -> str | None:
        """The address to connect to; None: start Ray here."""
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        return None if address == "local" else address

    def gpus(self, device: str) -> float:
        """GPUs a worker holds."""
        return (self.gpus_per_cell or 1.0) if device == "cuda" else 0.0

    def device(self, asked: Device) -> str:
        """``cpu`` or ``cuda``; ``auto`` takes GPUs if the cluster has any. Raises UserError."""
        if self.known_as is None:
            return resolve_device(asked)
        if asked != "auto":
            return asked
        with connected(self) as ray:
            return "cuda" if any(node["Resources"].get("GPU", 0) > 0 for node in alive(ray)) else "cpu"


def ready(cluster: Cluster) -> Any:
    """Ray, imported, after a look at whether anybody is at the address. Raises UserError."""
    for name, value in _BEFORE.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UserError(f"--executor ray: {error}; install it with: pip install 'clipfed-bench[ray]'") from None
    if cluster.known_as is not None:
        _knock(cluster.known_as)
    return ray


@contextlib.contextmanager
def connected(cluster: Cluster, cpus: int | None = None) -> Iterator[Any]:
    """Ray, connected to ``cluster``, or started here with ``cpus``. Raises UserError."""
    ray = ready(cluster)
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": THREADS | {"CLIPFED_BENCH_CACHE": str(cache_root().absolute())}},
    }
    address = cluster.known_as
    if address is None:
        _begin(ray, "Ray cannot be started on this machine", address="local", num_cpus=cpus or cores(),
               include_dashboard=False, object_store_memory=_OBJECTS, **options)  # fmt: skip
    else:
        _begin(ray, f"--address: {address}", address=address, **options)
    try:
        yield ray
    finally:
        ray.shutdown()  # ends what was started here, and only disconnects from a cluster


Connect = Callable[[Cluster, int | None], AbstractContextManager[Any]]
"""As :func:`connected`."""


def _begin(ray: Any, what: str, **options: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(**options)
        except Exception as error:
            if "timed out during startup" not in f"{error}":
                raise
            ray.init(**options)  # it waits half a minute for its processes, not much on a machine that is overloaded
    except SystemExit:  # what Ray makes of SIGTERM while it starts; to everybody else that is an interrupt
        raise KeyboardInterrupt from None
    except Exception as error:  # of many kinds; a node that does not come up is a plain Exception
        raise UserError(f"{what}: {_explain(error)}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray puts its own in place


def _explain(error: Exception) -> str:
    """What Ray says, in a line, without the tracebacks that it puts into it."""
    text = f"{error}" if error.__cause__ is None else f"{error}: {error.__cause__}"
    if "InvalidAuthToken" in text:
        return "the cluster wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what its nodes have."
    before, cut, after = text.partition("Traceback (most recent call last):")
    if cut:
        text = f"{before} {after.strip().splitlines()[-1]}"
    return " ".join(text.split())


def _knock(address: str) -> None:
    """Whether anybody is at ``address``: Ray itself would try for a minute."""
    if address == "auto":
        return
    if "://" in address:
        raise UserError(f"--address: {address} is for Ray Client; write HOST:PORT, on a node of the cluster.")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--address: '{address}' is not HOST:PORT of a cluster's head, and not 'auto'.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--address: there is no Ray cluster at {address} ({error}); see 'ray start --head'.") from None


def alive(ray: Any) -> list[dict[str, Any]]:
    """The nodes of the cluster that are not known as dead."""
    return [node for node in ray.nodes() if node["Alive"]]


def room(nodes: Sequence[dict[str, Any]], gpus: float) -> int:
    """Workers of one CPU and ``gpus`` GPUs each that fit on ``nodes``, if nothing else runs there."""
    total = 0
    for node in nodes:
        cpus, has = int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0))
        total += min(cpus, has * int(1 / gpus + 1e-9)) if gpus else cpus
    return total
