"""Cells of the embedded digits and the small network, and the folders they run in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment


def cell(seed: int = 0, **settings: Any) -> CellSpec:
    """Of the digits and the small network; all else is as by default, which is too large to run."""
    usual = {"warmup_rounds": 0, "lr": 0.1, "batch_size": 64}
    return CellSpec(**{"dataset": "digits", "model": "cnn", "seed": seed, **usual, **settings})


def small_cell(**settings: Any) -> CellSpec:
    """One that runs in a second: two rounds of five clients out of ten, each evaluated."""
    base = {"clients": 10, "clients_per_round": 5, "rounds": 2, "eval_every": 1}
    return cell(**base | {"local_epochs": 1, "batch_size": 16, "lr": 0.05} | settings)


def resumed_cell(attack: str = "badnets", defense: str = "fedavg", **settings: Any) -> CellSpec:
    """One for runs that stop and go on: four clients out of six, two malicious, and a teacher that is soon trained."""
    base = {"clients": 6, "clients_per_round": 4, "malicious": 0.34, "batch_size": 32, "eval_every": 2}
    base |= {"teacher": "local[epochs=1,width=2,depth=1]", "server_per_class": 2}
    base |= {"server_data": "holdout:4"} if defense.partition("[")[0] in ("clip-fed", "fltrust", "rkd") else {}
    return small_cell(attack=attack, defense=defense, **base | settings)


def environment(folder: Path, *kinds: str, **more: Any) -> Environment:
    """One with a folder in ``folder`` for each of ``kinds``: cache, warmup, prefix, checkpoint, model."""
    return Environment(**{f"{kind}_dir": folder / kind for kind in kinds}, **more)
