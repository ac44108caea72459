"""Distances between clients' updates here next to those of another checkout, in turn, in CPU seconds.

    git worktree add ../before REVISION
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.distances ../before [--repetitions 3]

Ten and a thousand small CNNs, and a hundred ResNet-18: updates of usual size around a common direction.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from benchmarks.in_turn import compare, figures, work_with

SIZES = {"10 small CNNs": (10, 156_000), "1,000 small CNNs": (1_000, 156_000), "100 ResNet-18": (100, 11_173_962)}
KINDS = ("Euclidean", "cosine, and FLAME's majority")


def work(folder: Path, count: int, params: int) -> None:
    """Print the seconds of this process, as in the second round of a worker that it is."""
    work_with(folder)
    now = (folder / "clipfed_bench" / "toolbox").is_dir()  # the rooms had other names once
    distances = import_module("clipfed_bench.toolbox.distances" if now else "clipfed_bench.geometry")
    clustering = import_module("clipfed_bench.toolbox.clustering" if now else "clipfed_bench.clustering")
    import torch

    from clipfed_bench.execution.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    stream = torch.Generator()
    stream.manual_seed(0)
    updates, common = torch.empty(count, params), torch.randn(params, generator=stream)
    for row in updates:
        row.copy_(0.01 * (common + torch.randn(params, generator=stream)))
    kinds: list[Callable[[], object]] = [
        lambda: distances.pairwise_squared_distances(updates),
        lambda: clustering.majority_cluster(distances.pairwise_cosine_distances(updates)),
    ]
    times = []
    for kind in kinds:
        kind()
        begin = time.process_time()
        kind()
        times.append(time.process_time() - begin)
    print(json.dumps(times))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.work:
        work(asked.checkout.resolve(), *asked.work)
        return
    for name, size in SIZES.items():
        measure = partial(_measure, size)
        for kind, (here, there, share) in zip(KINDS, compare(measure, asked.checkout, asked.repetitions), strict=True):
            print(f"{name:17} {kind:30} {here:6.2f} s here, {there:6.2f} there: {1 / share:.2f} ×", flush=True)


def _measure(size: tuple[int, int], folder: Path) -> list[float]:
    return figures("benchmarks.distances", folder, "--work", *size)


if __name__ == "__main__":
    main()
