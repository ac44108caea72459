"""Figures of this checkout next to those of another one: a process each time, in turn, each leading off in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[1]


def figures(module: str, folder: Path, *arguments: object) -> list[float]:
    """What ``python -m module folder arguments`` prints in its last line, a list in JSON."""
    command = [sys.executable, "-m", module, str(folder), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def work_with(folder: Path) -> None:
    """Let this process import the product from ``folder``."""
    sys.path[:] = [str(folder), *(p for p in sys.path if not (Path(p or ".") / "clipfed_bench").is_dir())]


def compare(
    measure: Callable[[Path], Sequence[float]], other: Path, repetitions: int
) -> list[tuple[float, float, float]]:
    """For each figure that ``measure`` gives of a checkout: its median here, there, and the median of here / there."""
    both = (HERE, other.resolve())
    taken: dict[Path, list[Sequence[float]]] = {folder: [] for folder in both}
    for repetition in range(repetitions):
        for folder in both if repetition % 2 == 0 else both[::-1]:
            taken[folder].append(measure(folder))
    columns = zip(*(zip(*taken[folder], strict=True) for folder in both), strict=True)
    return [
        (median(here), median(there), median(a / b for a, b in zip(here, there, strict=True)))
        for here, there in columns
    ]
