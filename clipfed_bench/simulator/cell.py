"""One cell from its spec to its numbers."""

from __future__ import annotations

from functools import partial

from clipfed_bench.api import Attack
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult, Environment, Report
from clipfed_bench.core.work_counts import count
from clipfed_bench.runs.metrics import MAIN
from clipfed_bench.simulator import prefix, warmup
from clipfed_bench.simulator.cell_facts import cell_facts, mark_changed
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.checkpoint import Checkpoint, identity
from clipfed_bench.simulator.final_model import save_model
from clipfed_bench.simulator.stage import Stage, play, silent, warner
from clipfed_bench.simulator.training import new_training


def prepare(spec: CellSpec, env: Environment, report: Report = silent) -> None:
    """Train the teacher where asked and compute its features, so that cells find them cached."""
    if spec.defense.component.needs_teacher:
        CellSetup(spec, env, report).new_defense()


def run_cell(spec: CellSpec, env: Environment, report: Report = silent) -> CellResult:
    """Run all rounds of a cell. On a CPU the result is the same to the bit whatever runs beside it.

    It goes on from the environment's checkpoint of the cell, if there is one; whoever stores the result drops that.
    Otherwise it goes on from the rounds that it shares with other cells, if they are there.
    Raises UserError for settings that turn out impossible with the data (a trigger that does not fit, too few
    images for all clients), DataError and TeacherError.
    """
    setup = CellSetup(spec, env)
    attack, training = setup.attack, new_training(setup)
    training.attack = attack
    if spec.attacked:
        setup.federation.refuse_nothing(attack)
    sets, facts = setup.test_sets, cell_facts(setup)
    warn = warner(report, "round", spec.rounds)
    place = Checkpoint(env, spec.key, identity(spec.key, facts), warn)

    def evaluate() -> None:
        now = setup.new_test_sets() if attack.adaptive else sets
        training.log.evaluate(training.done, partial(setup.evaluate, training.flat.model, now))

    def begin() -> None:
        if saved := prefix.place(setup, warn).load():
            prefix.take_over(training, saved, setup)
        else:
            warmup.start(training, setup, report)
            evaluate()
        report(stage.progress(training))

    def attack_in(round_: int) -> Attack | None:
        return attack if spec.attack_start <= round_ <= (spec.attack_stop or spec.rounds) else None

    stage = Stage("round", spec.rounds, place, attack=attack_in, evaluate=evaluate, shown=MAIN)
    play(stage, training, begin, report)
    save_model(spec, env, training.flat)
    count("cell")
    attacked = (spec.attack_start, spec.attack_stop or spec.rounds) if spec.attacked else None
    return CellResult(training.log.rows, training.log.final(spec.rounds, attacked), mark_changed(setup, facts))
