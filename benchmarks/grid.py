"""A grid of twelve CIFAR-10 cells here next to another checkout's, in turn, in CPU seconds of all its processes.

    git worktree add ../before REVISION
    OMP_NUM_THREADS=1 python -m benchmarks.grid ../before --data-dir DATA [--repetitions 3] [--kernels numba]

Four defenses and three seeds, the small CNN, BadNets, 100 clients of 500 images, ten a round, two local epochs, batches
of 64; five rounds, each evaluated, one cell at a time. It is the command as a user types it, from a fresh process and
an empty run folder to the table; the decoded data set is kept. Linux alone, where one can wait for orphans.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.in_turn import compare, figures

SETTINGS = {
    "dataset": "cifar10",
    "model": "cnn",
    "attack": "badnets",
    "defense": "fedavg,krum,median,flame",
    "clients": 100,
    "clients-per-round": 10,
    "malicious": 0.2,
    "partition": "iid",
    "seed": "0,1,2",
    "local-epochs": 2,
    "batch-size": 64,
    "lr": 0.01,
    "warmup-rounds": 0,
    "rounds": 5,
    "eval-every": 1,
    "workers": 1,
    "device": "cpu",
}
SUBREAPER = 36
"""``PR_SET_CHILD_SUBREAPER``: the workers that the command leaves behind become this process's, and are waited for."""


def work(folder: Path, data_dir: str, kernels: str) -> None:
    """Print the CPU seconds of the command and of everything that it starts."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    now = (folder / "clipfed_bench" / "core").is_dir()  # the one before has no other kernels
    more = ["--kernels", kernels] if now else []
    with tempfile.TemporaryDirectory() as run:
        given = [text for name, value in SETTINGS.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "clipfed_bench", "grid", *given, *more, "--out", run, "--data-dir", data_dir]
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        subprocess.run(command, check=True, cwd=run, env=os.environ | {"PYTHONPATH": path}, stdout=sys.stderr)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        cells = len(list(Path(run, "cells").glob("*.json")))
    assert cells == 12, cells
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps([used.ru_utime + used.ru_stime]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--kernels", default="numba")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    data_dir = str(Path(asked.data_dir).resolve())
    if asked.work:
        work(asked.checkout.resolve(), data_dir, asked.kernels)
        return
    measure = partial(_measure, data_dir, asked.kernels)
    for here, there, share in compare(measure, asked.checkout, asked.repetitions):
        print(f"12 cells of 5 rounds: {here:.1f} CPU s here, {there:.1f} there: {1 / share:.2f} ×", flush=True)


def _measure(data_dir: str, kernels: str, folder: Path) -> list[float]:
    return figures("benchmarks.grid", folder, "--work", "--data-dir", data_dir, "--kernels", kernels)


if __name__ == "__main__":
    main()
