"""Rounds that cells share before their attacks: played once, and as good, to the bit, as played by each cell."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from makers.specs import environment, resumed_cell
from miniature import fingerprint, miniature, numbers

from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.prefix import run_prefix
from clipfed_bench.simulator.training import Training
from clipfed_bench.simulator.warmup import run_warmup

DEFENSES = {  # those with a memory; what makes them quick, or keeps weights away from 0 and 1
    "fedcpa": "fedcpa",
    "foolsgold": "foolsgold[kappa=0.2]",
    "clip-fed": "clip-fed[augment=none,lr=0.1]",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def env(cache, tmp_path):
    return environment(tmp_path, "warmup", "prefix", cache_dir=cache)


@pytest.fixture(autouse=True)
def few_images_and_fingerprints():
    """Evaluations change with any bit of the model, and with trigger and target."""

    @torch.no_grad()
    def evaluate(model, sets):
        return fingerprint(model) | {"asr": float(model.eval()(sets.triggered)[:, sets.target].mean())}

    with miniature(evaluate, train=9, test=9):
        yield


@pytest.fixture
def played(monkeypatch):
    """The rounds that were played, in their order."""
    rounds, play = [], Training.play

    def count(training, attack):
        play(training, attack)
        rounds.append(training.done)

    monkeypatch.setattr(Training, "play", count)
    return rounds


def spec(attack="badnets", defense="fedavg", **settings):
    return resumed_cell(attack, DEFENSES.get(defense, defense), **{"rounds": 5, "attack_start": 4} | settings)


def alone(cell, env):
    """The cell with all its rounds played by itself."""
    return run_cell(cell, replace(env, prefix_dir=None))


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_cell_after_a_shared_prefix_is_the_cell_alone(defense, env, played):
    cells = [spec(attack, defense, warmup_rounds=2, seed=3) for attack in ("badnets", "neurotoxin")]
    cells[1] = replace(cells[1], target=7, rounds=6, attack_stop=5)
    expected = [alone(cell, env) for cell in cells]
    played.clear()
    run_prefix(cells[0], env)
    run_prefix(cells[1], env)
    assert played == [1, 2, 3]
    results = [run_cell(cell, env) for cell in cells]
    assert played == [1, 2, 3, 4, 5, 4, 5, 6]
    assert [numbers(r) for r in results] == [numbers(r) for r in expected]
    assert [r.provenance for r in results] == [r.provenance for r in expected]
    first, second = ([row["asr"] for row in r.history] for r in results)
    assert first[:2] != second[:2], "each with its own trigger and target"
    assert [[row["round"] for row in r.history] for r in results] == [[0, 2, 4, 5], [0, 2, 4, 6]]
    assert all(row["seconds_local"] > 0 for r in results for row in r.history[1:]), "time is that of all rounds"


@pytest.mark.parametrize(
    "settings", [{"attack": "none", "attack_start": 9, "rounds": 3}, {"attack_start": 2, "eval_every": 3}]
)
def test_an_attack_that_never_starts_and_a_prefix_without_an_evaluation(settings, env, played):
    cell = spec(**{"attack": "dba", "defense": "foolsgold"} | settings)
    expected = alone(cell, env)
    run_prefix(cell, env)
    played.clear()
    assert numbers(run_cell(cell, env)) == numbers(expected)
    assert played == list(range(cell.prefix_rounds + 1, cell.rounds + 1))


def test_a_prefix_goes_on_where_it_stopped_and_a_cell_from_wherever_it_is(env, tmp_path, played):
    cell, seen = spec(defense="foolsgold"), []
    env = replace(env, checkpoint_every=1)

    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    expected = numbers(alone(cell, env))
    with pytest.raises(KeyboardInterrupt):
        run_prefix(cell, env, stop)
    shutil.copytree(env.prefix_dir, tmp_path / "stopped")
    played.clear()
    run_prefix(cell, env, seen.append)
    assert [(p.stage, p.done, p.note) for p in seen] == [("prefix", 2, "goes on after round 2"), ("prefix", 3, "")]
    assert played == [3]
    assert numbers(run_cell(cell, env)) == expected
    played.clear()
    assert numbers(run_cell(cell, replace(env, prefix_dir=tmp_path / "stopped"))) == expected
    assert played == [3, 4, 5], "a cell that is alone with it plays the rest of it"
    assert [path.name for path in env.prefix_dir.iterdir()] == [f"{cell.prefix_key}.safetensors"]


def test_a_damaged_prefix_is_played_again_by_its_job_or_by_a_cell(env, played):
    cell, notes = spec(), []
    run_prefix(cell, env)
    expected, path = numbers(run_cell(cell, env)), env.prefix_dir / f"{cell.prefix_key}.safetensors"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        played.clear()
        assert numbers(run_cell(cell, env, lambda progress: notes.append(progress.note))) == expected
        assert played == [1, 2, 3, 4, 5]
        assert "cannot be used and is ignored" in notes[0]
        notes.clear()
        run_prefix(cell, env)
        assert played == [1, 2, 3, 4, 5, 1, 2, 3]
        assert numbers(run_cell(cell, env)) == expected


def test_nothing_is_kept_without_a_folder_or_rounds_to_share(env, played):
    run_prefix(spec(), replace(env, prefix_dir=None))
    run_prefix(spec(attack_start=1), env)
    assert played == []
    assert not env.prefix_dir.exists()


def test_the_warm_up_before_a_prefix_is_the_one_that_is_stored(env, played):
    cell, reports = spec(warmup_rounds=2), []
    run_warmup(cell, env)
    run_prefix(cell, env, reports.append)
    assert {report.stage for report in reports} == {"prefix"}
