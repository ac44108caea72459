"""Does the time grow with the work, and no faster? Each thing at one size and at ten times of it.

    OMP_NUM_THREADS=1 python -m benchmarks.growth

CPU seconds. A factor of 10 is linear; below it, what does not grow is a part of the smaller time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.world import make_world
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult, Environment
from clipfed_bench.data.partition import partition
from clipfed_bench.report.tables.table import table
from clipfed_bench.runs.store import RunStore
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.toolbox.compute import Compute

SMALL: dict[str, Any] = {"dataset": "digits", "model": "cnn", "warmup_rounds": 0}
SMALL |= {"batch_size": 16, "local_epochs": 1, "lr": 0.01}


def clients(count: int) -> Callable[[], object]:
    """A Dirichlet partition of 50,000 images."""
    labels = np.arange(50_000) % 10
    return lambda: partition(labels, 10, count, "dirichlet[alpha=0.5]", min_samples=1, seed=0)


def clients_a_round(count: int) -> Callable[[], object]:
    """Training of ``count`` clients with 50 images each, and their average."""
    world = make_world("cnn", "cpu", count, 50, 64, 1, 100)
    flat = world.model()
    federation = replace(world.federation, executor=world.executor(Compute("cpu")))
    return lambda: federation.train(flat, 1, world.everybody, None).mean(torch.ones(count, dtype=torch.float64))


def rounds(count: int) -> Callable[[], object]:
    """A cell of ``count`` rounds of two clients out of 40, evaluated once."""
    settings = SMALL | {"clients": 40, "clients_per_round": 2, "malicious": 0.5}
    return lambda: run_cell(CellSpec(rounds=count, eval_every=count, **settings), Environment())


def cells(count: int) -> Callable[[], object]:
    """The table of a run folder of ``count`` cells with 30 evaluations each."""
    store = RunStore(Path(tempfile.mkdtemp()))
    history = [{"round": k, "mta": 0.5, "asr": 0.5} for k in range(30)]
    for seed in range(count):
        store.put(CellSpec(seed=seed, **SMALL), CellResult(history, {"mta": 0.5, "asr": 0.5}, {}))
    return lambda: table(store.frames()[0])


KINDS = {"clients": (clients, 1_000), "clients a round": (clients_a_round, 100), "rounds": (rounds, 100)}
KINDS |= {"cells in a run folder": (cells, 200)}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one time."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    torch.set_num_threads(1)
    for name, (make, size) in KINDS.items():
        few, many = seconds(make(size)), seconds(make(10 * size))
        print(
            f"{name:22} {size:6,}: {few:7.2f} s   {10 * size:6,}: {many:7.2f} s   factor {many / few:5.1f}", flush=True
        )


if __name__ == "__main__":
    main()
