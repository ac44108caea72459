"""Kill a running grid again and again at random moments, go on each time, and compare with one that was left alone.

    python tests/faults/harness.py --kills 30 --seed 0 --executor local

After each kill every file is read and must be whole; what is stored must not be computed again; checkpoints must be
used; in the end results and history must be those of the grid that was left alone, to the bit. docs/faults.md.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import evidence
import pandas as pd
import processes

from clipfed_bench.cli.options import choose_axes
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.grid import make_grid
from clipfed_bench.runs.store import RunStore

ROOT = Path(__file__).parents[2]
PATIENCE = 1800.0
"""Seconds after which a run that should end by itself has failed."""

TINY = {"dataset": "digits", "model": "cnn", "clients": "40", "clients_per_round": "4", "malicious": "0.25"}
TINY |= {"local_epochs": "1", "batch_size": "16", "lr": "0.05", "rounds": "6", "warmup_rounds": "4", "eval_every": "2"}
TINY |= {"attack_start": "4", "alpha": "0.5", "seed": "0"}

SMALL = TINY | {"attack": "badnets,neurotoxin", "defense": "foolsgold"}
FULL = TINY | {
    "attack": "badnets,neurotoxin",
    "defense": "fedavg,foolsgold,fedcpa,clip-fed",
    "teacher": "local[epochs=3,width=2,depth=1]",
    "server_data": "holdout:4",
}


@dataclass(frozen=True)
class Executor:
    """How to run a grid on it, and which of the grid's processes are its workers."""

    arguments: tuple[str, ...]
    is_worker: Callable[[str], bool]
    """By its command line."""


EXECUTORS = {
    "local": Executor((), lambda line: "multiprocessing.spawn" in line),
    "ray": Executor(("--executor", "ray"), lambda line: line.startswith("ray::Worker")),
}

Targets = tuple[str, ...]
TARGETS: Targets = ("all", "all", "all", "parent", "worker", "worker", "SIGTERM")
"""Whom a kill hits: all processes, the parent alone, one worker; or a signal to the parent that asks it to stop."""


@dataclass
class Tally:
    """What was done to the grids, and what they did."""

    kills: Counter[str] = field(default_factory=Counter)
    """By target."""
    during: Counter[str] = field(default_factory=Counter)
    """By stage of the jobs that were under way."""
    runs: int = 0
    grids: int = 0
    resumed: int = 0
    """Checkpoints from which a cell, warm-up or prefix went on."""
    retried: int = 0


ORPHANED = re.compile(
    r"Traceback \(most recent call last\):\n(?:  .*\n)*?  .*in spawn_main\n(?:  (?!.*clipfed_bench).*\n)*"
    r"(?:EOFError: Ran out of input|_pickle\.UnpicklingError: pickle data was truncated)\n"
)
"""What Python says, before any of our code runs, in a worker whose parent is killed while it starts it."""


class Grid:
    """A grid in a folder of its own, with a cache of its own, run as often as it takes."""

    def __init__(self, folder: Path, settings: dict[str, str], executor: str) -> None:
        self.folder, self.run, self.cache = folder, folder / "run", folder / "cache"
        self.cells: list[CellSpec] = list(make_grid(choose_axes(settings, scale="cpu")).cells)
        self._executor = EXECUTORS[executor]
        options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        self._command = [sys.executable, "-m", "clipfed_bench", "grid", *options, *self._executor.arguments]
        self._command += ["--device=cpu", f"--out={self.run}", "--checkpoint-every=1"]
        self._runs = 0

    def start(self, workers: int) -> subprocess.Popen[bytes]:
        """The grid in a process group of its own; what it prints goes to files."""
        self._runs += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "CLIPFED_BENCH_CACHE": str(self.cache), "COLUMNS": "120"}
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            return subprocess.Popen(
                [*self._command, f"--workers={workers}"],
                cwd=self.folder,
                env=environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def _file(self, stream: str) -> Path:
        return self.folder / f"{stream}-{self._runs}.txt"

    def check_said(self, code: int, target: str) -> None:
        """That the last run, which ended with ``code`` after ``target`` was hit, had nothing to complain about."""
        out, err = (self._file(stream).read_text(errors="replace") for stream in ("out", "err"))
        if target in ("all", "parent"):
            err = ORPHANED.sub("", err)
        assert "Traceback (most" not in out + err, err
        assert "warning:" not in out + err, out + err
        # Who is asked to stop before it can listen is ended by the system.
        allowed = {"all": (-9,), "parent": (-9,), "SIGTERM": (130, -15)}.get(target, (0, 1))
        assert code in (0, *allowed), (code, target, err)
        if code == 130:
            assert "Cells that are done are stored; to go on:" in err

    def workers(self, process: subprocess.Popen[bytes]) -> list[int]:
        """Its workers' ids."""
        return [p for p in processes.descendants(process.pid) if self._executor.is_worker(processes.command_line(p))]


def reference(folder: Path, settings: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and history of the grid when it is left alone, in the pool."""
    grid = Grid(folder, settings, "local")
    process = grid.start(workers=2)
    code = process.wait()
    grid.check_said(code, target="")
    assert code == 0
    return RunStore(grid.run).frames([cell.key for cell in grid.cells])


@dataclass
class Torment:
    """Kills grids ``kills`` times in all, a new one whenever one is done, and checks everything there is to check."""

    folder: Path
    settings: dict[str, str]
    expected: tuple[pd.DataFrame, pd.DataFrame]
    """Results and history of the grid when it is left alone."""
    kills: int
    seed: int
    executor: str = "local"
    targets: Targets = TARGETS
    workers: Sequence[int] = (1, 2)
    """Each run of a grid has one of these numbers of workers."""
    say: Callable[[str], None] = lambda line: None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    @property
    def left(self) -> int:
        """Kills still to come."""
        return self.kills - sum(self.tally.kills.values())

    def go(self) -> Tally:
        """Do it. Raises AssertionError for what is not as it should be."""
        while self.left > 0:
            self.tally.grids += 1
            grid = Grid(self.folder / str(self.tally.grids), self.settings, self.executor)
            while self._run(grid) != 0:
                pass
            evidence.check_same(grid.run, self.expected, grid.cells)
            evidence.check_tidy(grid.run)
            self.say(f"grid {self.tally.grids} is done, and equal to the one that was left alone")
        return self.tally

    def _run(self, grid: Grid) -> int:
        """Run the grid once more, until it ends or is killed; its exit status."""
        before, lines = evidence.stored(grid.run, grid.cache, grid.cells), len(evidence.account(grid.run))
        process = grid.start(self._chance.choice(self.workers))
        self.tally.runs += 1
        try:
            target, family = self._disturb(grid, process, lines)
            code = process.wait(timeout=PATIENCE)
        finally:
            if process.poll() is None:
                for pid in [process.pid, *processes.descendants(process.pid)]:
                    processes.kill(pid)
        self._check_all_end(family)
        grid.check_said(code, target)
        new = evidence.account(grid.run)[lines:]
        self.tally.resumed += evidence.check_nothing_twice(before, new)
        self.tally.retried += sum(line["event"] == "retried" for line in new)
        evidence.stored(grid.run, grid.cache, grid.cells)
        return code

    def _check_all_end(self, family: list[int]) -> None:
        """That none of the grid's processes lives on; Ray's agents, which do nothing to its files, take a minute."""
        lines = {pid: processes.command_line(pid) for pid in processes.all_end(family, patience=30)}
        workers = [line for line in lines.values() if EXECUTORS[self.executor].is_worker(line)]
        assert not workers, f"workers that outlive the grid: {workers}"
        others = [lines[pid] for pid in processes.all_end(list(lines), patience=120)]
        assert not others, f"processes that outlive the grid: {others}"

    def _disturb(self, grid: Grid, process: subprocess.Popen[bytes], lines: int) -> tuple[str, list[int]]:
        """Kill workers, and in the end more than that, or nothing if the grid is faster: the last target, who was hit.

        ``lines`` is where the account of this run begins.
        """
        target, family = "", [process.pid]
        while self.left > 0 and _wait(grid, process, self._chance):
            target, workers = self._chance.choice(self.targets), grid.workers(process)
            if target == "worker" and not workers:
                target = "all"
            family += processes.descendants(process.pid)
            stages = _under_way(evidence.account(grid.run)[lines:]) or {"start or end"}
            self.tally.kills[target] += 1
            self.tally.during.update(stages)
            self.say(f"kill {self.kills - self.left}: {target} during {', '.join(sorted(stages))}")
            if target == "worker":
                processes.kill(self._chance.choice(workers))
                continue
            for pid in set(family) if target == "all" else [process.pid]:
                processes.kill(pid, signal.SIGTERM if target == "SIGTERM" else signal.SIGKILL)
            break
        return target, family


def _under_way(lines: list[dict[str, str]]) -> set[str]:
    """Stages of the jobs that have started and not ended."""
    running: dict[str, str] = {}
    for line in lines:
        if line["event"] == "started":
            running[line["job"]] = line["stage"]
        elif line["event"] in ("done", "failed", "retried"):
            running.pop(line["job"], None)
    return set(running.values())


def _wait(grid: Grid, process: subprocess.Popen[bytes], chance: random.Random) -> bool:
    """Wait for a moment to kill at: one in the first seconds, one after some event, or one at which a file changes.

    False: the grid ended before.
    """
    kind = chance.choice(("time", "event", "event", "file", "file"))
    if kind == "time":
        deadline = time.monotonic() + chance.uniform(0, 5)
        return _until(process, 0.01, lambda: time.monotonic() >= deadline)
    if kind == "event":
        count, pause = _size(grid.run / "events.jsonl") + chance.randint(1, 1200), chance.uniform(0, 0.5)
        reached = _until(process, 0.005, lambda: _size(grid.run / "events.jsonl") >= count)
        time.sleep(pause)
        return reached and process.poll() is None
    folder = chance.choice(("cells", "cells", "checkpoints", "checkpoints", "warmups", "prefixes", ""))
    passed, seen = chance.randint(0, 6), set(_names(grid.run / folder))

    def changed() -> bool:
        nonlocal seen, passed
        now = set(_names(grid.run / folder))
        passed, seen = passed - len(now - seen), now
        return passed < 0

    return _until(process, 0.001, changed)


def _until(process: subprocess.Popen[bytes], pause: float, reached: Callable[[], bool]) -> bool:
    while process.poll() is None:
        if reached():
            return True
        time.sleep(pause)
    return False


def _names(folder: Path) -> Iterator[tuple[str, int]]:
    try:
        with os.scandir(folder) as entries:
            yield from [(entry.name, entry.inode()) for entry in entries]
    except OSError:
        return


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executor", choices=sorted(EXECUTORS), default="local")
    parser.add_argument("--small", action="store_true", help="without a teacher and CLIP-Fed")
    chosen = parser.parse_args()
    settings, begin = SMALL if chosen.small else FULL, time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        os.environ["RAY_TMPDIR"] = folder
        expected = reference(Path(folder) / "alone", settings)
        say(f"{len(expected[0])} cells, left alone")
        tally = Torment(Path(folder), settings, expected, chosen.kills, chosen.seed, chosen.executor, say=say).go()
    hit = ", ".join(f"{count} {name}" for name, count in tally.kills.most_common())
    during = ", ".join(f"{count} {name}" for name, count in tally.during.most_common())
    say(f"{sum(tally.kills.values())} kills ({hit}; during {during}) in {tally.runs} runs of {tally.grids} grids.")
    say(f"Went on from {tally.resumed} checkpoints; {tally.retried} jobs of killed workers were tried again.")
    say(f"{tally.grids * len(expected[0])} cells: no file was half-written, nothing stored was computed again,")
    say("and all numbers are equal to the bit.")


if __name__ == "__main__":
    main()
