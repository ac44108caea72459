"""Everything there is to check and to measure on a GPU, in one call of less than ten minutes.

    python tests/gpu/check.py OUT

Equivalence first (the tests beside this file), then speed (``clipfed-bench bench``), then whole cells: bfloat16
against float32 over three seeds, the paper's 300 rounds on CIFAR-10-LT if the data are there, and memory for a hundred
ResNet-18 updates. Each part has a time limit and is run in a process of its own; what fails or takes too long is said,
and the rest goes on. OUT gets a log for each part, ``bench.json``, and ``check.md``, which is printed too. The exit
status is 1 if any part failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "clipfed_bench"]
SMALL = "--dataset digits --model cnn --clients 20 --rounds 40 --eval-every 20 --lr 0.05 --seeds 3 --attack badnets"
LARGE = "--dataset cifar10-lt --attack badnets --defense fedavg --rounds 300"


@dataclass(frozen=True)
class Part:
    """One command."""

    name: str
    command: list[str]
    limit: float
    """Seconds."""


def parts(out: Path) -> list[Part]:
    bench = [*COMMAND, "bench", "--device", "cuda", "--quick"]
    small = [*COMMAND, "grid", "--device", "cuda", "--quiet", "--workers", "3", *SMALL.split()]
    return [
        Part(
            "tests",
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-rs",
                "--tb=short",
                "-o",
                "faulthandler_timeout=60",
                str(ROOT / "tests" / "gpu"),
            ],
            130,
        ),
        Part("bench", [*bench, "--json", str(out / "bench.json"), "--markdown", str(out / "bench.md")], 190),
        Part("float32", [*small, "--precision", "float32", "--out", str(out / "float32")], 50),
        Part("bfloat16", [*small, "--precision", "bfloat16", "--out", str(out / "bfloat16")], 50),
        Part("cell", [*COMMAND, "run", "--device", "cuda", "--out", str(out / "cell"), *LARGE.split()], 160),
    ]


def run(part: Part, out: Path) -> tuple[str, float]:
    """(what became of it, seconds)."""
    begin = time.monotonic()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as in the Makefile
    with (out / f"{part.name}.log").open("w") as log:
        try:
            done = subprocess.run(
                part.command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, timeout=part.limit
            )
            outcome = "done" if done.returncode == 0 else f"failed with exit status {done.returncode}"
        except subprocess.TimeoutExpired:
            outcome = f"stopped after {part.limit:g} s"
    return outcome, time.monotonic() - begin


def findings(out: Path) -> list[str]:
    """What the parts that were done came to, a line each."""
    lines = []
    if (out / "bench.json").exists():
        bench = json.loads((out / "bench.json").read_text())
        lines += [f"- {bench['machine']['device_name']}, torch {bench['machine']['version_torch']}"]
        for entry in bench["targets"]:
            bound = f"{'>=' if entry['at_least'] else '<='} {entry['bound']:g}"
            lines.append(judged(f"{entry['what']}: {entry['measured']:.4g} {entry['unit']}", bound, entry["met"]))
        lines.append(f"- cells per GPU: {bench['cells_per_gpu']}")
        for entry in bench["aggregations"]:
            if entry["model"] == "resnet18" and entry["clients"] == 100 and entry.get("peak_bytes"):
                lines.append(f"- K = 100, {entry['defense']}: {entry['peak_bytes'] / 1e9:.2f} GB beyond the updates")
    finals = {name: final_mta(out / name) for name in ("float32", "bfloat16")}
    if all(finals.values()):
        gap = 100 * abs(fmean(finals["bfloat16"]) - fmean(finals["float32"]))
        what = f"points by which bfloat16 moves the final MTA, mean of 3 seeds: {gap:.2f}"
        lines.append(judged(what, "<= 0.5", gap <= 0.5))
    for path in (out / "cell" / "cells").glob("*.json"):
        entry = json.loads(path.read_text())
        if entry["status"] == "done":
            seconds = sum(v for k, v in entry["final"].items() if k.startswith("seconds_") and k != "seconds_purify")
            what = f"300 rounds on CIFAR-10-LT, MTA {entry['final']['mta']:.3f}: {seconds:.0f} s"
            lines.append(judged(what, "<= 120", seconds <= 120))
    return lines


def judged(what: str, bound: str, met: bool) -> str:
    return f"- {what} ({bound}: {'met' if met else 'MISSED'})"


def final_mta(run_folder: Path) -> list[float]:
    cells = [json.loads(path.read_text()) for path in (run_folder / "cells").glob("*.json")]
    return [cell["final"]["mta"] for cell in cells if cell["status"] == "done"]


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    out = Path(sys.argv[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    for part in parts(out):
        outcomes[part.name] = run(part, out)
        print(f"{part.name}: {outcomes[part.name][0]}, {outcomes[part.name][1]:.0f} s", flush=True)
    lines = ["# GPU check", ""]
    lines += [f"- part {name}: {outcome}, {seconds:.0f} s" for name, (outcome, seconds) in outcomes.items()]
    text = "\n".join([*lines, *findings(out)]) + "\n"
    (out / "check.md").write_text(text)
    print(text)
    return 0 if all(outcome == "done" for outcome, _ in outcomes.values()) and "MISSED" not in text else 1


if __name__ == "__main__":
    sys.exit(main())
