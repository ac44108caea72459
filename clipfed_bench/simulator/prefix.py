"""The rounds before the attack, which cells share that differ in nothing but what comes later.

They are played once and kept as a checkpoint, with the model and MTA of each round in which cells evaluate: how often
a trigger succeeds on it depends on the cell. A cell that goes on from there has the numbers, to the bit, of one that is
alone; its seconds are those of all its rounds, whoever has played them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment, Progress, Report
from clipfed_bench.core.work_counts import count
from clipfed_bench.simulator.cell_state import Training
from clipfed_bench.simulator.checkpoint import Checkpoint, Saved, identity

MODEL = "model/"
"""In a prefix, what the names of the models to evaluate begin with; then come the round and the vector's name."""


def kept(spec: CellSpec, env: Environment, facts: dict[str, str], warn: Callable[[str], None]) -> Checkpoint:
    """Where the cell's prefix is, or will be; ``facts`` say what goes into it. It may be unfinished."""
    place = replace(env, checkpoint_dir=env.prefix_dir if spec.prefix_rounds else None)
    return Checkpoint(place, spec.prefix_key, identity(spec.prefix_key, facts, [spec.defense.component]), warn)


def compute(
    training: Training, start: Callable[[], None], accuracy: Callable[[], float], place: Checkpoint, report: Report
) -> None:
    """Play the prefix from ``start``, which makes the model what it is before round 1, or from where it stopped.

    ``accuracy`` measures the MTA of the model as it is.
    """
    total = training.spec.prefix_rounds
    models: dict[str, Tensor] = {}
    if saved := place.load():
        if saved.round == total:
            return
        training.restore(saved)
        models = {name: value.cpu() for name, value in saved.tensors.items() if name.startswith(MODEL)}
        report(Progress("prefix", training.done, total, note=f"goes on after round {training.done}"))
    else:
        start()
        _keep(training, accuracy, models)
    while training.done < total:
        training.play(None)
        if training.is_evaluated:
            _keep(training, accuracy, models)
        if training.done == total or place.due(training.done):
            place.save(training.done, training.tensors() | models, training.log.state())
        report(Progress("prefix", training.done, total, training.log.latest[0]))
    count("prefix")


def _keep(training: Training, accuracy: Callable[[], float], models: dict[str, Tensor]) -> None:
    """Put the model aside, and a row into the log in which the ASR is left for cells to fill in."""
    for name, value in (("params", training.flat.params), ("buffers", training.flat.buffers)):
        models[f"{MODEL}{training.done}/{name}"] = value.cpu().clone()
    training.log.evaluate(training.done, lambda: (accuracy(), math.nan))


def take_over(training: Training, saved: Saved, success: Callable[[], float]) -> None:
    """Make ``training`` what it would be had it played the prefix; ``success`` measures the ASR of its model."""
    for row in saved.facts["rows"]:
        for name, own in (("params", training.flat.params), ("buffers", training.flat.buffers)):
            own.copy_(saved.tensors[f"{MODEL}{row['round']}/{name}"])
        begin = time.perf_counter()
        row["asr"] = success()
        row["seconds_eval"] += time.perf_counter() - begin
    training.restore(saved)
