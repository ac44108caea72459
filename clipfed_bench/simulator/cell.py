"""One cell from its spec to its numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.components.registry import create_attack
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult, Environment, Progress, Report
from clipfed_bench.core.provenance import provenance
from clipfed_bench.core.work_counts import count
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator import prefix, warmup
from clipfed_bench.simulator import shared as setup
from clipfed_bench.simulator.cell_state import Training, make_defense, set_up
from clipfed_bench.simulator.checkpoint import Checkpoint, identity
from clipfed_bench.simulator.evaluate import TestSets, evaluate, make_test_sets
from clipfed_bench.simulator.final_model import save_model
from clipfed_bench.toolbox.images import Dataset, image_shape


def _silent(_: Progress) -> None:
    pass


def prepare(spec: CellSpec, env: Environment, report: Report = _silent) -> None:
    """Train the teacher where asked and compute its features, so that cells find them cached."""
    if spec.defense.component.needs_teacher:
        setup.teacher(spec, env, report)
        make_defense(spec, env, setup.dataset(spec, env)[0]).prepare()


def run_warmup(spec: CellSpec, env: Environment, report: Report = _silent) -> None:
    """Compute the cell's warm-up checkpoint unless it is there and whole."""
    if spec.warmup_rounds == 0 or warmup.is_stored(spec, env):
        return
    data, _ = setup.dataset(spec, env)
    flat = FlatModel(build_model(spec.model, len(data.classes), spec.seed).to(env.device))
    facts = provenance(env.device) | setup.manner(env) | {"data_source": data.source}
    warn = partial(_warn, report, Progress("warmup", 0, spec.warmup_rounds))
    name = f"warmup-{warmup.checkpoint(spec, env).stem}"
    unfinished = Checkpoint(env, name, identity(spec.warmup_key, facts), warn)
    warmup.compute(spec, env, setup.federation(spec, env, data), flat, report, unfinished)


def run_prefix(spec: CellSpec, env: Environment, report: Report = _silent) -> None:
    """Play the rounds before the cell's attack, and keep them for all cells that share them, unless they are kept.

    Without a folder for them, or an attack that starts after round 1, there is nothing to do.
    """
    if env.prefix_dir is None or spec.prefix_rounds == 0:
        return
    data, clean = setup.dataset(spec, env)
    place = _prefix(spec, env, data, partial(_warn, report, Progress("prefix", 0, spec.prefix_rounds)))
    training = set_up(spec, env, data)
    one = TestSets(clean, data.test.labels, clean[:1], 0)  # ASR is not asked
    start, accuracy = partial(_warm_up, training, env, report), lambda: _measure(training, env, one)[0]
    prefix.compute(training, start, accuracy, place, report)


def run_cell(spec: CellSpec, env: Environment, report: Report = _silent) -> CellResult:
    """Run all rounds of a cell. On a CPU the result is the same to the bit whatever runs beside it.

    It goes on from the environment's checkpoint of the cell, if there is one; whoever stores the result drops that.
    Otherwise it goes on from the rounds that it shares with other cells, if they are there.
    Raises UserError for settings that turn out impossible with the data (a trigger that does not fit, too few
    images for all clients), DataError and TeacherError.
    """
    data, clean = setup.dataset(spec, env)
    attack = _attack(spec, data)
    training = set_up(spec, env, data)
    sets = make_test_sets(data.test, clean, attack, training.federation.normalize)
    facts = provenance(env.device) | _facts(spec, env, data)
    warn = partial(_warn, report, Progress("round", 0, spec.rounds))
    unfinished = _checkpoint(spec, env, facts, warn)
    measure = partial(_measure, training, env, sets)
    log, note = training.log, ""
    if saved := unfinished.load():
        training.restore(saved)
        note = f"goes on after round {saved.round}"
    elif saved := _prefix(spec, env, data, warn).load():
        one = replace(sets, clean=clean[:1], labels=sets.labels[:1])  # MTA is known
        prefix.take_over(training, saved, lambda: _measure(training, env, one)[1])
    else:
        _warm_up(training, env, report)
        log.evaluate(0, measure)
    report(Progress("round", training.done, spec.rounds, *log.latest, note=note))
    while training.done < spec.rounds:
        attacked = spec.attack_start <= training.done + 1 <= (spec.attack_stop or spec.rounds)
        training.play(attack if attacked else None)
        if training.is_evaluated:
            log.evaluate(training.done, measure)
        if training.done < spec.rounds and unfinished.due(training.done):
            unfinished.save(training.done, training.tensors(), log.state())
        report(Progress("round", training.done, spec.rounds, *log.latest))
    save_model(spec, env, training.flat)
    count("cell")
    return CellResult(log.rows, log.final(spec.rounds), facts)


def _measure(training: Training, env: Environment, sets: TestSets) -> tuple[float, float]:
    """(MTA, ASR) of the model as it is."""
    with setup.compute(env).autocast():
        return evaluate(training.flat.model, sets)


def _warm_up(training: Training, env: Environment, report: Report) -> None:
    """Make the model what it is before round 1."""
    if training.spec.warmup_rounds:
        run_warmup(training.spec, env, report)
        stored = warmup.load(training.spec, env)
        for own, loaded in zip((training.flat.params, training.flat.buffers), stored, strict=True):
            own.copy_(loaded)


def _warn(report: Report, where: Progress, text: str) -> None:
    report(replace(where, note=f"warning: {text}"))


def _checkpoint(spec: CellSpec, env: Environment, facts: dict[str, str], warn: Callable[[str], None]) -> Checkpoint:
    components = [spec.attack.component, spec.defense.component]
    return Checkpoint(env, spec.key, identity(spec.key, facts, components), warn)


def _prefix(spec: CellSpec, env: Environment, data: Dataset, warn: Callable[[str], None]) -> Checkpoint:
    return prefix.kept(spec, env, provenance(env.device) | _inputs(spec, env, data), warn)


def _attack(spec: CellSpec, data: Dataset) -> Attack:
    shape = image_shape(data.train.images)
    context = AttackContext(spec.target, len(data.classes), shape, spec.poison_ratio, spec.seed)
    return create_attack(spec.attack, context)


def _facts(spec: CellSpec, env: Environment, data: Dataset) -> dict[str, str]:
    """Provenance of what went into the cell."""
    return {"defaults": json.dumps(_origins(spec)), "warmup_key": spec.warmup_key} | _inputs(spec, env, data)


def _inputs(spec: CellSpec, env: Environment, data: Dataset) -> dict[str, str]:
    """Provenance of data and teacher."""
    facts = setup.manner(env) | {"data_source": data.source}
    if spec.defense.component.needs_teacher:
        used = setup.teacher(spec, env)
        facts |= {f"teacher_{k}": v for k, v in used.provenance.items()} | {"teacher_identity": used.identity}
    if spec.defense.component.needs_server_data:
        server = setup.server_data(spec, env, spec.server_per_class)
        facts |= {"server_label": server.label, "server_hash": server.content_hash}
    return facts


def _origins(spec: CellSpec) -> dict[str, str]:
    """Where each default in force comes from, the cell's own and those of its attack and defense."""
    origins = spec.defaults()
    for choice in (spec.attack, spec.defense):
        kind, options = choice.component.kind, zip(choice.component.options, choice.values, strict=True)
        origins |= {f"{kind}.{option.name}": option.origin for option, value in options if value == option.default}
    return origins
