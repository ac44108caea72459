"""The rounds before the attack, which cells share that differ in nothing but what comes later.

They are played once and kept as a checkpoint, with the model and MTA of each round in which cells evaluate: how often
a trigger succeeds on it depends on the cell. A cell that goes on from there has the numbers, to the bit, of one that is
alone; its seconds are those of all its rounds, whoever has played them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from torch import Tensor

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment, Report
from clipfed_bench.core.work_counts import count
from clipfed_bench.runs.metric_catalog import measured
from clipfed_bench.runs.metrics import Metric
from clipfed_bench.simulator import warmup
from clipfed_bench.simulator.cell_facts import prefix_facts
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.checkpoint import Checkpoint, Saved, identity
from clipfed_bench.simulator.evaluate import OF_TRIGGER, TestSets, prepared
from clipfed_bench.simulator.stage import MODEL, Stage, play, silent, warner
from clipfed_bench.simulator.training import Training, new_training


def place(setup: CellSetup, warn: Callable[[str], None]) -> Checkpoint:
    """Where the cell's prefix is, or will be, if it has one. It may be unfinished."""
    spec, env = setup.spec, setup.env
    here = replace(env, checkpoint_dir=env.prefix_dir if spec.prefix_rounds else None)
    return Checkpoint(here, spec.prefix_key, identity(spec.prefix_key, prefix_facts(setup)), warn)


def run_prefix(spec: CellSpec, env: Environment, report: Report = silent) -> None:
    """Play the rounds before the cell's attack, and keep them for all cells that share them, unless they are kept.

    Without a folder for them, or an attack that starts after round 1, there is nothing to do.
    """
    if env.prefix_dir is None or spec.prefix_rounds == 0:
        return
    setup = CellSetup(spec, env)
    training, models = new_training(setup), dict[str, Tensor]()
    # What is of triggers is left for cells.
    test, prepare = setup.data.test, partial(prepared, setup.federation.normalize)
    sets = TestSets(test.images, test.labels, prepare(test.images[:1]), 0, setup.shots, prepare=prepare)

    def evaluate() -> None:
        models.update((_name(training.done, name), own.cpu().clone()) for name, own in _vectors(training))
        unknown = dict.fromkeys(_later(measured()), math.nan)
        training.log.evaluate(training.done, lambda: setup.evaluate(training.flat.model, sets) | unknown)

    def begin() -> None:
        warmup.start(training, setup, report)
        evaluate()

    kept = place(setup, warner(report, "prefix", spec.prefix_rounds))
    shown = ("mta",)
    stage = Stage("prefix", spec.prefix_rounds, kept, keeps_end=True, evaluate=evaluate, shown=shown, aside=models)
    if play(stage, training, begin, report):
        count("prefix")


def take_over(training: Training, saved: Saved, setup: CellSetup) -> None:
    """Make ``training`` what it would be had it played the prefix, and measure what is the cell's own."""
    sets = setup.test_sets
    for row in saved.facts["rows"]:
        for name, own in _vectors(training):
            own.copy_(saved.tensors[_name(row["round"], name)])
        begin = time.perf_counter()
        found = setup.evaluate(training.flat.model, sets)
        row |= {name: found[name] for name in _later(sets.measured)}
        row["seconds_eval"] += time.perf_counter() - begin
    training.restore(saved)


def _later(others: Iterable[Metric]) -> tuple[str, ...]:
    """What each cell measures for itself: what depends on its trigger, or may depend on it."""
    return (*OF_TRIGGER, *(metric.name for metric in others))


def _vectors(training: Training) -> tuple[tuple[str, Tensor], ...]:
    return ("params", training.flat.params), ("buffers", training.flat.buffers)


def _name(round_: int, vector: str) -> str:
    return f"{MODEL}{round_}/{vector}"
