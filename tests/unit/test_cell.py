"""A whole cell on the embedded digits: the contracts of the simulator, and that each method has its effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from makers.specs import environment, small_cell
from miniature import miniature, numbers
from safetensors.torch import load_file, save

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment, Progress
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.evaluate import evaluate, prepared
from clipfed_bench.simulator.final_model import load_model
from clipfed_bench.simulator.manner import warmup_file
from clipfed_bench.simulator.warmup import is_stored, run_warmup
from clipfed_bench.toolbox.tensor_files import read_model


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.mktemp("cell"), "cache", "warmup")


@pytest.fixture
def few_images() -> Iterator[None]:
    """A quarter of the images to train on, for tests in which nothing has to be learned."""
    with miniature(evaluate, train=4):
        yield


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("defense", ["fedavg", "flame", "krum"])
def test_a_cell_is_bit_identical_when_repeated(env: Environment, defense: str) -> None:
    cell = small_cell(defense=defense, attack="blend")
    assert numbers(run_cell(cell, env)) == numbers(run_cell(cell, env))


@pytest.mark.usefixtures("few_images")
def test_a_seed_changes_the_numbers(env: Environment) -> None:
    assert numbers(run_cell(small_cell(rounds=1), env)) != numbers(run_cell(small_cell(rounds=1, seed=1), env))


def test_warmup_is_computed_once_and_shared(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[Progress] = []
    one = small_cell(warmup_rounds=3, rounds=1)
    other = small_cell(warmup_rounds=3, rounds=1, attack="dba", defense="flame", target=3)
    assert one.warmup_key == other.warmup_key != small_cell(warmup_rounds=3, seed=1).warmup_key
    first = run_cell(one, env, reports.append)
    assert sum(r.stage == "warmup" for r in reports) == 3
    stamp = warmup_file(one, env).stat().st_mtime_ns
    reports.clear()
    second = run_cell(other, env, reports.append)
    run_warmup(other, env, reports.append)
    assert all(r.stage != "warmup" for r in reports)
    assert warmup_file(one, env).stat().st_mtime_ns == stamp
    assert first.final["mta_start"] == second.final["mta_start"]
    assert first.final["mta_start"] > 0.15  # ten classes: something was learned


@pytest.mark.usefixtures("few_images")
def test_a_warmup_found_gives_the_numbers_of_a_warmup_computed(tmp_path: Path, env: Environment) -> None:
    cell = small_cell(warmup_rounds=2, rounds=1)
    fresh = Environment(cache_dir=env.cache_dir, warmup_dir=tmp_path)
    assert numbers(run_cell(cell, fresh)) == numbers(run_cell(cell, fresh))


@pytest.mark.usefixtures("few_images")
def test_a_damaged_warmup_is_computed_again(tmp_path: Path, env: Environment) -> None:
    cell, fresh = small_cell(warmup_rounds=1), Environment(cache_dir=env.cache_dir, warmup_dir=tmp_path)
    run_warmup(cell, fresh)
    path = warmup_file(cell, fresh)
    whole = path.read_bytes()
    for damaged in (whole[:100], b"", b"something else"):
        path.write_bytes(damaged)
        run_warmup(cell, fresh)
        assert path.read_bytes() == whole
    params, buffers = load_file(path).values()
    for foreign in (params[1:], params.double(), params * float("nan"), params[None].contiguous()):
        assert is_stored(cell, fresh)
        path.write_bytes(save({"params": foreign, "buffers": buffers}, metadata=read_model(path, "cpu")[1]))
        assert not is_stored(cell, fresh)
        path.write_bytes(whole)


@pytest.mark.usefixtures("few_images")
def test_before_its_start_and_after_its_stop_an_attack_does_nothing(env: Environment) -> None:
    clean = run_cell(small_cell(attack="none"), env)
    late = run_cell(small_cell(attack="badnets", attack_start=3, rounds=3), env)
    assert [r["mta"] for r in late.history[:3]] == [r["mta"] for r in clean.history]
    stopped = run_cell(small_cell(attack="badnets", attack_stop=1, rounds=2), env)
    whole = run_cell(small_cell(attack="badnets", rounds=2), env)
    assert numbers(stopped)[:2] == numbers(whole)[:2]
    assert numbers(stopped)[2] != numbers(whole)[2]


def test_badnets_breaks_fedavg_and_flame_stops_it(env: Environment) -> None:
    """Bounds are wide of what seeds and processors come to: ASR 0.79 to 0.97, below 0.01; TPR 0.67, FPR below 0.3."""
    settings: dict[str, Any] = {"clients": 20, "clients_per_round": 10, "warmup_rounds": 5, "rounds": 3}
    settings |= {"eval_every": 3}
    clean = run_cell(small_cell(attack="none", **settings), env).final
    attacked = run_cell(small_cell(attack="badnets", **settings), env).final
    defended = run_cell(small_cell(attack="badnets", defense="flame", **settings), env).final
    assert clean["asr"] < 0.1
    assert attacked["asr"] > 0.6
    assert attacked["mta"] > 0.85
    assert defended["asr"] < 0.2
    assert defended["tpr"] > 0.45 > defended["fpr"]


def test_provenance_names_what_was_used(env: Environment) -> None:
    facts = run_cell(small_cell(rounds=1), env).provenance
    assert {"device", "git_sha", "data_source", "defaults", "version_torch"} <= set(facts)
    assert '"malicious": "paper"' in facts["defaults"]


def test_a_kept_model_is_the_one_that_was_measured_last(tmp_path: Path) -> None:
    cell, other = small_cell(), small_cell(seed=1)
    env = Environment(warmup_dir=tmp_path, model_dir=tmp_path / "models", keep_models=frozenset({cell.key}))
    result = run_cell(cell, env)
    setup = CellSetup(cell, env)
    with torch.no_grad():
        outputs = load_model(cell, env)(prepared(setup.federation.normalize, setup.data.test.images))
    right = outputs.argmax(dim=1) == setup.data.test.labels
    assert float(right.double().mean()) == result.final["mta"]
    run_cell(other, env)
    assert [path.stem for path in (tmp_path / "models").iterdir()] == [cell.key]
    with pytest.raises(UserError, match=r"no final model of cell .* 'clipfed-bench paper fig3'"):
        load_model(other, env)
