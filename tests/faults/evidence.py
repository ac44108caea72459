"""What a run folder shows between two runs: that every file in it is whole, what is stored, and what has happened."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.runs.store import RunStore
from clipfed_bench.simulator.checkpoint import content_digest

PART = re.compile(r"\..+\.tmp|\.seen-[0-9a-f]+")


@dataclass(frozen=True)
class Stored:
    """What nobody should have to compute again."""

    cells: frozenset[str]
    warmups: frozenset[str]
    prefixes: frozenset[str]
    teachers: bool
    rounds: dict[str, int]
    """Job of each unfinished cell, warm-up or prefix with a checkpoint -> the round that it holds."""


def stored(run: Path, cache: Path, cells: list[CellSpec]) -> Stored:
    """What is stored, after a look into every file there is. Raises if one of them, whatever its kind, is not whole."""
    rounds, prefixes = {}, set()
    whole = {cell.prefix_key: cell.prefix_rounds for cell in cells}
    for path in sorted([*run.rglob("*"), *cache.rglob("*")]):
        if not path.is_file() or PART.fullmatch(path.name):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_text().splitlines())
        elif path.suffix == ".parquet":
            pd.read_parquet(path)
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                assert all(arrays[name] is not None for name in arrays.files)
        elif path.suffix == ".safetensors":
            state = _tensors(path)
            if path.parent.name == "checkpoints":
                rounds[path.stem.replace("warmup-", "warmup/")] = state["round"]
            elif path.parent.name == "prefixes" and state["round"] == whole[path.stem]:
                prefixes.add(path.stem)
            elif path.parent.name == "prefixes":
                rounds[f"prefix/{path.stem}"] = state["round"]
        else:
            assert path.name == ".lock" or path.suffix in (".lock", ".log", ".md", ".tex", ".csv"), f"what is {path}?"
    store = RunStore(run)
    keys = [cell.key for cell in cells]
    assert store.broken(keys) == []
    done = frozenset(key for key, status in store.statuses(keys).items() if status == "done")
    warmups = frozenset(path.stem for path in (run / "warmups").glob("*.safetensors"))
    return Stored(done, warmups, frozenset(prefixes), any(cache.glob("teachers/*/teacher.safetensors")), rounds)


def _tensors(path: Path) -> dict[str, Any]:
    """Reads all tensors; of a checkpoint also its state, checked against its digest."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = file.metadata() or {}
    if "digest" not in header:
        return {}
    assert header["digest"] == content_digest(header["state"], tensors), path
    state: dict[str, Any] = json.loads(header["state"])
    return state


def account(run: Path) -> list[dict[str, Any]]:
    """All lines of the run folder's account."""
    path = run / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def check_nothing_twice(before: Stored, lines: list[dict[str, Any]]) -> int:
    """That nothing stored ``before`` was computed by the run with these ``lines``; how many checkpoints it used."""
    used = 0
    for line in lines:
        stage, job = line.get("stage"), str(line.get("job")).rpartition("/")[2]
        if stage == "cell":
            assert job not in before.cells, f"cell {job} was stored, and run again: {line}"
        if line["event"] == "step" and stage == "warmup":
            assert job not in before.warmups, f"warm-up {job} was stored, and computed again: {line}"
        if line["event"] == "step" and stage == "prefix":
            assert job not in before.prefixes, f"prefix {job} was stored, and played again: {line}"
        if line["event"] == "step" and stage == "teacher":
            assert not before.teachers, f"the teacher was stored, and trained again: {line}"
    for name, round_ in before.rounds.items():
        first = next((line for line in lines if line["event"] == "step" and line.get("job") == name), None)
        if first is not None:
            assert first["note"] == f"goes on after round {round_}", f"{name} lost rounds: {first}"
            used += 1
    return used


def check_same(run: Path, reference: tuple[pd.DataFrame, pd.DataFrame], cells: list[CellSpec]) -> None:
    """That rows and columns of the run are those of ``reference`` to the bit, but for times."""
    store = RunStore(run)
    found = store.frames([cell.key for cell in cells])
    assert store.warnings == []
    exported = (pd.read_parquet(run / f"{name}.parquet") for name in ("results", "history"))
    for frame, file, expected in zip(found, exported, reference, strict=True):
        for one in (frame, file):
            pd.testing.assert_frame_equal(_timeless(one), _timeless(expected), check_exact=True)


def _timeless(frame: pd.DataFrame) -> pd.DataFrame:
    times = [name for name in frame.columns if name.startswith("seconds")]
    return frame.drop(columns=[*times, "created", "git_sha"], errors="ignore")  # somebody may commit meanwhile


def check_tidy(run: Path) -> None:
    """That nothing is left of work under way; a warm-up's part may be another run's, and stays for a minute."""
    left = [path for path in run.rglob(".*") if PART.fullmatch(path.name) and path.parent.name != "warmups"]
    assert left == [], left
    assert not (run / "checkpoints").exists()
    assert not (run / "prefixes").exists()
    assert not (run / ".holder.json").exists()
