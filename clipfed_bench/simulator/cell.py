"""One cell from its spec to its numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

from torch import Tensor

from clipfed_bench.api import Attack, AttackContext, Defense, RoundContext
from clipfed_bench.data.types import Dataset, image_shape
from clipfed_bench.models import build_model
from clipfed_bench.provenance import provenance
from clipfed_bench.records import CellResult, Environment, Progress, Report
from clipfed_bench.registry import create_attack, create_defense, find
from clipfed_bench.simulator import setup, warmup
from clipfed_bench.simulator.checkpoint import Checkpoint, Saved, identity
from clipfed_bench.simulator.evaluate import evaluate, make_test_sets
from clipfed_bench.simulator.log import Log
from clipfed_bench.simulator.params import FlatModel
from clipfed_bench.simulator.round import aggregate_updates, detection, sample_clients
from clipfed_bench.simulator.snapshot import save_model
from clipfed_bench.spec import CellSpec

DEFENSE = "defense/"
"""In a checkpoint, what the names of a defense's own tensors begin with."""


def _silent(_: Progress) -> None:
    pass


def prepare(spec: CellSpec, env: Environment, report: Report = _silent) -> None:
    """Train the teacher where asked and compute its features, so that cells find them cached."""
    if find("defense", spec.defense)[0].needs_teacher:
        setup.teacher(spec, env, report)
        _defense(spec, env, setup.dataset(spec, env)[0]).prepare()


def run_warmup(spec: CellSpec, env: Environment, report: Report = _silent) -> None:
    """Compute the cell's warm-up checkpoint unless it is there and whole."""
    if spec.warmup_rounds == 0 or warmup.is_stored(spec, env):
        return
    data, _ = setup.dataset(spec, env)
    flat = FlatModel(build_model(spec.model, len(data.classes), spec.seed).to(env.device))
    facts = provenance(env.device) | {"data_source": data.source}
    warn = partial(_warn, report, Progress("warmup", 0, spec.warmup_rounds))
    unfinished = Checkpoint(env, f"warmup-{spec.warmup_key}", identity(spec.warmup_key, facts), warn)
    warmup.compute(spec, env, setup.federation(spec, env, data), flat, report, unfinished)


def run_cell(spec: CellSpec, env: Environment, report: Report = _silent) -> CellResult:
    """Run all rounds of a cell. On a CPU the result is the same to the bit whatever runs beside it.

    It goes on from the environment's checkpoint of the cell, if there is one; whoever stores the result drops that.
    Raises UserError for settings that turn out impossible with the data (a trigger that does not fit, too few
    images for all clients), DataError and TeacherError.
    """
    data, clean = setup.dataset(spec, env)
    federation = setup.federation(spec, env, data)
    attack = _attack(spec, data)
    defense = _defense(spec, env, data)
    defense.prepare()
    sets = make_test_sets(data.test, clean, attack, federation.normalize)
    flat = FlatModel(build_model(spec.model, len(data.classes), spec.seed).to(env.device))
    params, buffers = flat.params, flat.buffers
    facts = provenance(env.device) | _facts(spec, env, data)
    unfinished = _checkpoint(spec, env, facts, report)
    log, compute = Log(env.device), setup.compute(env)
    done, previous_update = 0, None
    if saved := unfinished.load():
        done, previous_update = _restore(saved, flat, defense, log)
    elif spec.warmup_rounds:
        run_warmup(spec, env, report)
        for own, loaded in zip((params, buffers), warmup.load(spec, env), strict=True):
            own.copy_(loaded)

    def measure(round_: int) -> None:
        with log.timed("seconds_eval"), compute.autocast():
            figures = evaluate(flat.model, sets)
        log.evaluation(round_, *figures)

    if not done:
        measure(0)
    report(Progress("round", done, spec.rounds, *log.latest, note=f"goes on after round {done}" if done else ""))
    for round_ in range(done + 1, spec.rounds + 1):
        sampled = sample_clients(spec, round_)
        attacked = spec.attack_start <= round_ <= (spec.attack_stop or spec.rounds)
        context = RoundContext(round_, spec.seed)
        start = params.clone()
        with log.timed("seconds_local"):
            updates = federation.train(flat, round_, sampled, attack if attacked else None, previous_update)
        if attacked:
            with log.timed("seconds_attack"):
                federation.craft(updates, flat, round_, attack)
        with log.timed("seconds_defense"):
            result, dropped = aggregate_updates(defense, updates, context)
            params += result.delta
            buffers.copy_(result.buffers)
            with log.timed("seconds_purify"):
                defense.purify(flat.model, context)
        previous_update = params - start
        rates = detection(result.kept, sampled, federation.malicious if attacked else ())
        log.selection(*rates, dropped, result.info)
        if round_ % spec.eval_every == 0 or round_ == spec.rounds:
            measure(round_)
        if round_ < spec.rounds and unfinished.due(round_):
            unfinished.save(round_, _tensors(flat, previous_update, defense), log.state())
        report(Progress("round", round_, spec.rounds, *log.latest))
    save_model(spec, env, flat)
    return CellResult(log.rows, log.final(spec.rounds), facts)


def _warn(report: Report, where: Progress, text: str) -> None:
    report(replace(where, note=f"warning: {text}"))


def _checkpoint(spec: CellSpec, env: Environment, facts: dict[str, str], report: Report) -> Checkpoint:
    components = [find("attack", spec.attack)[0], find("defense", spec.defense)[0]]
    warn = partial(_warn, report, Progress("round", 0, spec.rounds))
    return Checkpoint(env, spec.key, identity(spec.key, facts, components), warn)


def _tensors(flat: FlatModel, previous_update: Tensor, defense: Defense) -> dict[str, Tensor]:
    """All tensors that a round hands to the next."""
    own = {"params": flat.params, "buffers": flat.buffers, "previous_update": previous_update}
    return own | {f"{DEFENSE}{name}": value for name, value in defense.state().items()}


def _restore(saved: Saved, flat: FlatModel, defense: Defense, log: Log) -> tuple[int, Tensor]:
    """Make everything what it was after the round that ``saved`` is of: (that round, its update of the model)."""
    flat.params.copy_(saved.tensors["params"])
    flat.buffers.copy_(saved.tensors["buffers"])
    defense.load_state({k.removeprefix(DEFENSE): v for k, v in saved.tensors.items() if k.startswith(DEFENSE)})
    log.load_state(saved.facts)
    return saved.round, saved.tensors["previous_update"]


def _attack(spec: CellSpec, data: Dataset) -> Attack:
    component, options = find("attack", spec.attack)
    shape = image_shape(data.train.images)
    context = AttackContext(spec.target, len(data.classes), shape, spec.poison_ratio, spec.seed)
    return create_attack(component.name, options, context)


def _defense(spec: CellSpec, env: Environment, data: Dataset) -> Defense:
    component, options = find("defense", spec.defense)
    return create_defense(component.name, options, setup.server_context(spec, env, data))


def _facts(spec: CellSpec, env: Environment, data: Dataset) -> dict[str, str]:
    """Provenance of what went into the cell."""
    facts = {"precision": env.precision, "steps": "graph" if env.graphs else "eager", "data_source": data.source}
    facts |= {"defaults": json.dumps(_origins(spec)), "warmup_key": spec.warmup_key}
    if find("defense", spec.defense)[0].needs_teacher:
        used = setup.teacher(spec, env)
        facts |= {f"teacher_{k}": v for k, v in used.provenance.items()} | {"teacher_identity": used.identity}
    if find("defense", spec.defense)[0].needs_server_data:
        server = setup.server_data(spec, env, spec.server_per_class)
        facts |= {"server_label": server.label, "server_hash": server.content_hash}
    return facts


def _origins(spec: CellSpec) -> dict[str, str]:
    """Where each default in force comes from, the cell's own and those of its attack and defense."""
    origins = spec.defaults()
    for kind, text in (("attack", spec.attack), ("defense", spec.defense)):
        component, options = find(kind, text)  # type: ignore[arg-type]
        origins |= {f"{kind}.{o.name}": o.origin for o in component.options if options[o.name] == o.default}
    return origins
