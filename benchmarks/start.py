"""A worker's start and its peak memory here next to those of another checkout, in turn.

    git worktree add ../before REVISION
    OMP_NUM_THREADS=1 python -m benchmarks.start ../before [--data-dir DATA] [--defense flame] [--clients-per-round 10]

Each time is a process of its own, which imports what a worker imports and plays one round of a CIFAR-10 cell with the
small CNN. The start is its CPU seconds until the first client trains, evaluation not counted; then the same with the
server's first aggregation, local training not counted. The peak is its resident memory at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.in_turn import HERE, compare, figures, work_with

FIGURES = ("start, s", "start and first aggregation, s", "peak, GB")


def measure(data_dir: str | None, defense: str, clients_per_round: int, folder: Path) -> list[float]:
    """The figures of one process that works with the code in ``folder``."""
    data = ("--data-dir", Path(data_dir).resolve()) if data_dir else ()
    settings = ("--defense", defense, "--clients-per-round", clients_per_round)
    return figures("benchmarks.start", folder, "--work", *settings, *data)


def work(folder: Path, data_dir: str | None, defense: str, clients_per_round: int) -> None:
    """Print the figures of this process."""
    work_with(folder)
    now = (folder / "clipfed_bench" / "core").is_dir()  # the rooms had other names once
    import_module("clipfed_bench.execution.runner")
    simulator = "clipfed_bench.simulator"
    cell, executor = import_module(f"{simulator}.cell"), import_module(f"{simulator}.executor").Executor
    evaluating = import_module(f"{simulator}.cell_setup") if now else cell
    spec_module = import_module("clipfed_bench.config.cell_spec" if now else "clipfed_bench.spec")
    environment = import_module("clipfed_bench.core.messages" if now else "clipfed_bench.records").Environment
    import torch

    from clipfed_bench.execution.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    uncounted, first = [0.0], [0.0]

    def untimed(function: Any, note_first: bool = False) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            begin = time.process_time()
            if note_first and not first[0]:
                first[0] = begin - uncounted[0]
            result = function(*arguments, **named)
            uncounted[0] += time.process_time() - begin
            return result

        return wrapped

    evaluating.evaluate = untimed(evaluating.evaluate)  # type: ignore[attr-defined]
    executor.train = untimed(executor.train, note_first=True)
    settings = {"clients": 100, "clients_per_round": clients_per_round, "rounds": 1, "warmup_rounds": 0, "lr": 0.01}
    spec = spec_module.CellSpec(
        dataset="cifar10", model="cnn", defense=defense, batch_size=64, local_epochs=1, **settings
    )
    where = {"kernels": "numba"} if os.environ.get("KERNELS") == "numba" and now else {}
    cell.run_cell(spec, environment(data_dir=Path(data_dir) if data_dir else None, **where))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps([first[0], time.process_time() - uncounted[0], peak]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--data-dir", default=os.environ.get("CLIPFED_BENCH_DATA"))
    parser.add_argument("--defense", default="flame")
    parser.add_argument("--clients-per-round", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    what = asked.data_dir, asked.defense, asked.clients_per_round
    if asked.work:
        work(asked.checkout.resolve(), *what)
        return
    once = partial(measure, *what)
    for folder in (HERE, asked.checkout.resolve()):
        once(folder)  # data are decoded, files are in the page cache
    for name, (here, there, share) in zip(FIGURES, compare(once, asked.checkout, asked.repetitions), strict=True):
        print(f"{name:32} {here:6.2f} here, {there:6.2f} there: {share:.2f} of it")


if __name__ == "__main__":
    main()
