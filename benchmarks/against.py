"""A round of the small CNN here next to one of another checkout, in turn, in CPU seconds.

    git worktree add ../before REVISION
    OMP_NUM_THREADS=1 python -m benchmarks.against ../before [--batch-sizes 64,32,16] [--repetitions 7] [--images 500]

10 clients × 500 made-up images × 2 epochs, and an evaluation of the 19,000 or so clean and triggered images of 10,000;
with fewer --images of both as many times less.
Each checkout works in a process of its own that lives through all repetitions, with what its cells take by default.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median

PARTS = ("local", "evaluate")


class Checkout:
    """A process that works with the code in ``folder``."""

    def __init__(self, folder: Path, batch_size: int, images: int) -> None:
        command = [
            sys.executable,
            __file__,
            str(folder),
            "--work",
            "--batch-sizes",
            str(batch_size),
            "--images",
            str(images),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask()  # the first time is not counted

    def _ask(self) -> list[float]:
        pipe, answer = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answer is not None
        pipe.write("work\n")
        pipe.flush()
        return [float(seconds) for seconds in answer.readline().split()]

    def seconds(self) -> list[float]:
        """CPU seconds of each part."""
        return self._ask()

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


def compare(other: Path, batch_size: int, images: int, repetitions: int) -> dict[str, list[tuple[float, float]]]:
    """Part -> (seconds here, seconds there) of each repetition."""
    both = [Checkout(folder, batch_size, images) for folder in (Path(__file__).parents[1], other)]
    found: dict[str, list[tuple[float, float]]] = {part: [] for part in (*PARTS, "both")}
    for repetition in range(repetitions):
        order = both if repetition % 2 == 0 else both[::-1]
        taken = {id(checkout): checkout.seconds() for checkout in order}
        here, there = (taken[id(checkout)] for checkout in both)
        for part, own, others in zip(found, (*here, sum(here)), (*there, sum(there)), strict=True):
            found[part].append((own, others))
    for checkout in both:
        checkout.end()
    return found


def work(folder: Path, batch_size: int, images: int) -> None:
    """Take a round's time whenever there is a line to read."""
    sys.path[:] = [str(folder), *(p for p in sys.path if not (Path(p or ".") / "clipfed_bench").is_dir())]
    benchmarks = "benchmarks" if (folder / "benchmarks").is_dir() else "clipfed_bench.bench"  # where they once were
    ours, made = (import_module(f"{benchmarks}.{name}") for name in ("ours", "world"))
    import torch

    from clipfed_bench.execution.allocator import keep_freed_memory
    from clipfed_bench.simulator.evaluate import evaluate, make_test_sets, normalized

    torch.set_num_threads(1)
    keep_freed_memory()
    knows = ours.default.__code__.co_argcount == 2  # of kernels
    way = ours.default("cpu", "cnn") if knows else ours.default("cpu")
    world = made.make_world("cnn", "cpu", 10, images, batch_size, 2, 20 * images)
    flat = world.model(ours.compute("cpu", way).kernels) if knows else world.model()
    normalize = world.federation.normalize
    once = "clean" in make_test_sets.__code__.co_varnames  # normalized images were kept
    kept = (normalized(world.data.test.images, normalize),) if once else ()
    sets = make_test_sets(*(world.data.test, *kept, world.attack(), normalize))
    for _ in sys.stdin:
        times = [time.process_time()]
        ours.train(world, flat, way)
        times.append(time.process_time())
        evaluate(flat.model, sets)
        times.append(time.process_time())
        print(*(end - begin for begin, end in pairwise(times)), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--batch-sizes", default="64,32,16")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    sizes = [int(size) for size in asked.batch_sizes.split(",")]
    if asked.work:
        work(asked.checkout.resolve(), sizes[0], asked.images)
        return
    for batch_size in sizes:
        for part, pairs in compare(asked.checkout, batch_size, asked.images, asked.repetitions).items():
            here, there = (median(times) for times in zip(*pairs, strict=True))
            ratios = sorted(others / own for own, others in pairs)
            print(
                f"batch {batch_size:3}  {part:9} {here:6.2f} s here, {there:6.2f} s there: "
                f"{median(ratios):.2f} × ({ratios[0]:.2f}–{ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
