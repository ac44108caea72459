"""Distances between clients' updates here next to those of another checkout, in turn, in CPU seconds.

    git worktree add ../before REVISION
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.distances ../before [--repetitions 3]

Ten and a thousand small CNNs, and a hundred ResNet-18: updates of usual size around a common direction.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median

SIZES = {"10 small CNNs": (10, 156_000), "1,000 small CNNs": (1_000, 156_000), "100 ResNet-18": (100, 11_173_962)}
KINDS = ("Euclidean", "cosine, and FLAME's majority")


def measure(folder: Path, count: int, params: int) -> list[float]:
    """Seconds of each of KINDS, in a process that works with the code in ``folder``."""
    command = [sys.executable, __file__, str(folder), "--work", str(count), str(params)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def work(folder: Path, count: int, params: int) -> None:
    """Print the seconds of this process, as in the second round of a worker that it is."""
    sys.path[:] = [str(folder), *(p for p in sys.path if not (Path(p or ".") / "clipfed_bench").is_dir())]
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
    folders = [Path(__file__).parents[1], asked.checkout.resolve()]
    for name, size in SIZES.items():
        taken: dict[Path, list[list[float]]] = {folder: [] for folder in folders}
        for repetition in range(asked.repetitions):
            for folder in folders if repetition % 2 == 0 else folders[::-1]:
                taken[folder].append(measure(folder, *size))
        for kind, here, there in zip(KINDS, *(zip(*taken[folder], strict=True) for folder in folders), strict=True):
            ratio = median(b / a for a, b in zip(here, there, strict=True))
            print(
                f"{name:17} {kind:30} {median(here):6.2f} s here, {median(there):6.2f} there: {ratio:.2f} ×", flush=True
            )


if __name__ == "__main__":
    main()
