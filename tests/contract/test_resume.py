"""A cell that goes on in new objects gives the model of one that was not stopped, for every attack and defense.

New files in ``attacks/`` and ``baselines/`` are covered without an edit.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from makers.specs import resumed_cell
from miniature import fingerprint, miniature, numbers

from clipfed_bench.api import Attack, AttackContext, Defense
from clipfed_bench.components import registry
from clipfed_bench.components.registry import choose, create_attack, create_defense
from clipfed_bench.core.messages import Environment
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.training import Training

OPTIONS = {  # what makes it quick, or keeps weights away from 0 and 1
    "a3fl": "a3fl[epochs=2,unlearn_every=1,unlearn_epochs=1]",
    "iba": "iba[epochs=1,width=2]",
    "clip-fed": "clip-fed[augment=none,lr=0.1]",
    "deepsight": "deepsight[samples=8,seeds=1]",
    "fldetector": "fldetector[window=1]",
    "foolsgold": "foolsgold[kappa=0.2]",
    "rkd": "rkd[epochs=1]",
    "snowball": "snowball[keep=1,initial=2,tuning=1,hidden=8,latent=2]",
}
STATEFUL = ("centered-clip", "clip-fed", "fedcpa", "foolsgold")
ADAPTIVE = ("a3fl", "iba")
STOP = 2


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return Environment(cache_dir=tmp_path_factory.mktemp("resume"))


@pytest.fixture(autouse=True)
def few_images_and_fingerprints():
    with miniature(lambda model, sets: fingerprint(model), train=12):
        yield


def spec(attack="badnets", defense="fedavg", **settings):
    attack, defense = (OPTIONS.get(name, name) for name in (attack, defense))
    return resumed_cell(attack, defense, **{"rounds": STOP + 1} | settings)


def keeping(cell, env, folder):
    """The numbers of a run that is not stopped. The checkpoint of round N stays in ``folder/N``."""

    def report(progress):
        if progress.stage == "round" and 0 < progress.done < cell.rounds:
            shutil.copytree(folder / "now", folder / str(progress.done))

    return numbers(run_cell(cell, replace(env, checkpoint_dir=folder / "now", checkpoint_every=1), report))


def going_on(cell, env, folder):
    """The numbers of a run that starts from the checkpoint in ``folder``, and the round it says it goes on from."""
    notes = []
    env = replace(env, checkpoint_dir=folder, checkpoint_every=0)
    found = numbers(run_cell(cell, env, lambda progress: notes.append(progress.note)))
    return found, [note for note in notes if note]


@pytest.mark.parametrize("defense", sorted(registry.defenses()))
def test_every_defense_goes_on_as_if_nothing_had_happened(defense, env, tmp_path):
    cell = spec(defense=defense)
    whole = keeping(cell, env, tmp_path)
    assert going_on(cell, env, tmp_path / str(STOP)) == (whole, [f"goes on after round {STOP}"])


@pytest.mark.parametrize("attack", sorted(registry.attacks()))
def test_every_attack_goes_on_as_if_nothing_had_happened(attack, env, tmp_path):
    cell = spec(attack=attack)
    whole = keeping(cell, env, tmp_path)
    assert going_on(cell, env, tmp_path / str(STOP)) == (whole, [f"goes on after round {STOP}"])


@pytest.mark.parametrize("defense", STATEFUL)
def test_the_comparison_would_see_a_state_that_is_lost(defense, env, tmp_path, monkeypatch):
    cell = spec(defense=defense)
    whole = keeping(cell, env, tmp_path)
    monkeypatch.setattr(type(create_defense(choose("defense", defense), None)), "load_state", Defense.load_state)
    assert going_on(cell, env, tmp_path / str(STOP))[0] != whole


@pytest.mark.parametrize("attack", ADAPTIVE)
def test_the_comparison_would_see_a_trigger_that_is_lost(attack, env, tmp_path, monkeypatch):
    cell = spec(attack=attack)
    whole = keeping(cell, env, tmp_path)
    context = AttackContext(5, 10, (3, 32, 32))
    monkeypatch.setattr(type(create_attack(choose("attack", attack), context)), "load_state", Attack.load_state)
    assert going_on(cell, env, tmp_path / str(STOP))[0] != whole


def test_the_comparison_would_see_the_last_update_that_is_lost(env, tmp_path, monkeypatch):
    cell = spec(attack="neurotoxin")
    whole, restore = keeping(cell, env, tmp_path), Training.restore

    def forgetful(training, saved):
        restore(training, saved)
        training.previous_update = None

    monkeypatch.setattr(Training, "restore", forgetful)
    assert going_on(cell, env, tmp_path / str(STOP))[0] != whole


def test_checkpoints_change_nothing_and_any_of_them_will_do(env, tmp_path):
    cell = spec(defense="foolsgold", warmup_rounds=2, rounds=4)
    env = replace(env, warmup_dir=tmp_path / "warmups")
    whole = keeping(cell, env, tmp_path)
    assert numbers(run_cell(cell, env)) == whole
    for round_ in range(1, 4):
        assert going_on(cell, env, tmp_path / str(round_)) == (whole, [f"goes on after round {round_}"])
