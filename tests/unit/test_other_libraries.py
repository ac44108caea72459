"""byzfl:NAME and flwr:NAME: what is offered, refused and handed on, with made libraries; tests/oracle has real ones."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from makers.fake_libraries import importable
from makers.updates import ROUND, SERVER, numpy, random_deltas, updates_of

from clipfed_bench.api import RoundContext
from clipfed_bench.cli.list import list_defenses
from clipfed_bench.components.registry import choose, create_defense, defenses, families
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.runs.cell_file import FORMAT, read_cell
from clipfed_bench.simulator.digests import Digests
from clipfed_bench.toolbox.rng import stream_seed


@pytest.fixture(autouse=True)
def libraries(tmp_path):
    with importable(tmp_path):
        yield


def make(label):
    return create_defense(choose("defense", label), SERVER)


def some(count=6, seed=0):
    draw = np.random.default_rng(seed)
    deltas = random_deltas(seed, count).astype(np.float32)
    return updates_of(deltas, params=draw.normal(size=deltas.shape[1]), samples=draw.integers(1, 90, count))


def mean(updates, weights=None):
    return np.average(numpy(updates.deltas), axis=0, weights=weights)


def test_options_are_the_constructors_with_types_and_defaults():
    assert choose("defense", "byzfl:TrMean[f=2,scale=2]").options == {"pre": "", "f": 2, "scale": 2.0}
    assert str(choose("defense", "byzfl:TrMean[f=0,scale=1.5]")) == "byzfl:TrMean"
    assert choose("defense", "flwr:FedAvgM[rate=1]").options == {"server_momentum": 0.0, "rate": 1.0}
    assert choose("defense", "flwr:Bulyan").options == {}
    assert {option.origin for option in choose("defense", "byzfl:TrMean").component.options} == {"ours", "lineage"}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("byzfl:TrMean[g=2]", r"unknown option of defense byzfl:TrMean 'g'.* Known: f, pre, scale\."),
        ("byzfl:TrMean[f=x]", r"byzfl:TrMean\[f\]: 'x' is not a whole number"),
        (
            "byzfl:TrMaen",
            r"unknown defense 'byzfl:TrMaen'\. Did you mean 'byzfl:TrMean'\? Known: byzfl:Average",
        ),
        ("byzfl:Needy", "unknown defense 'byzfl:Needy'"),
        ("byzfl:_Helper", "unknown defense 'byzfl:_Helper'"),
        ("byzfl:NNM", r"'byzfl:NNM' cannot be used: it mixes updates for a rule, e\.g\. byzfl:TrMean\[pre=NNM\]"),
        ("byzfl:a/b", "'byzfl:a/b' is no name for --defense; write byzfl:NAME"),
        ("byzfl", "unknown defense 'byzfl'. Did you mean 'byzfl:NAME'"),
        ("flwr:FedProx", "cannot be used: its term is the clients' to add"),
        ("flwr:Hidden", r"unknown defense 'flwr:Hidden'\..* Known: flwr:Bulyan, flwr:FedAvg, flwr:FedAvgM\."),
        ("flwr:FedAvgM", r"defense flwr:FedAvgM needs a value: flwr:FedAvgM\[rate=float\]"),
        ("flwr:FedAvg[weighted_by_key=x]", "has no options, so 'weighted_by_key' cannot be set"),
    ],
)
def test_what_cannot_be_chosen(label, message):
    with pytest.raises(UserError, match=message):
        choose("defense", label)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("byzfl:TrMean[f=-1]", "byzfl:TrMean: ValueError: f must be a non-negative integer"),
        ("byzfl:TrMean[f=3]", "byzfl:TrMean of 6 clients: ValueError: Cannot tolerate 2f"),
        ("byzfl:CAF", "byzfl:CAF comes to no aggregate of these 6 updates"),
        ("byzfl:Average[pre=NMN]", "unknown defense 'byzfl:NMN'. Did you mean 'byzfl:NNM'"),
        ("byzfl:Average[pre=NNM[s=2]]", "unknown option of defense byzfl:NNM 's'. Known: f"),
        ("flwr:Bulyan", "flwr:Bulyan comes to no aggregate of 6 clients; it needs more of them"),
    ],
)
def test_what_a_library_refuses_is_said_without_a_traceback(label, message):
    with pytest.raises(UserError, match=message):
        make(label).aggregate(some(), ROUND)


def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("clipfed_bench.components.families.find_spec", lambda name: None)
    for name in ("byzfl", "flwr"):
        with pytest.raises(UserError, match=rf"{name} is not installed; .* pip install 'clipfed-bench\[{name}\]'"):
            choose("defense", f"{name}:FedAvg")


def test_a_library_of_another_form_is_said_to_be(tmp_path):
    (tmp_path / "byzfl" / "aggregators" / "aggregators.py").write_text("rules = {}\n")
    with pytest.raises(UserError, match=r"no class of byzfl\.aggregators\.aggregators of unknown version can be read"):
        choose("defense", "byzfl:Average")


def test_a_library_that_cannot_be_imported_is_said_to_be(tmp_path):
    (tmp_path / "byzfl" / "aggregators" / "__init__.py").write_text("import seaborn_of_another_world\n")
    with pytest.raises(UserError, match=r"raises ModuleNotFoundError: .*It comes with .*\[byzfl\]'"):
        make("byzfl:Average")


def test_families_are_listed_apart_with_their_members(capsys):
    assert {"byzfl", "flwr"} == set(families("defense"))
    assert not defenses().keys() & {"byzfl", "flwr"}
    list_defenses()
    shown = capsys.readouterr().out
    assert "byzfl:NAME" in shown
    assert "byzfl:TrMean[f=0,scale=1.5]" in shown
    assert "flwr:FedAvgM[server_momentum=0,rate=FLOAT]" in shown


def test_byzfl_gets_the_updates_and_cannot_change_them():
    updates = some()
    before = updates.deltas.clone()
    found = make("byzfl:Average[pre=Clipping[c=0.5]]").aggregate(updates, ROUND)
    np.testing.assert_allclose(numpy(found.delta), numpy(before).clip(-0.5, 0.5).mean(axis=0), atol=1e-6)
    assert torch.equal(updates.deltas, before)
    np.testing.assert_allclose(numpy(found.buffers), numpy(updates.buffers).mean(axis=0))
    assert found.kept is None


def test_preaggregators_work_from_the_innermost_out():
    found = make("byzfl:Average[pre=NNM[f=2,pre=Clipping[c=0.25]]]").aggregate(some(), ROUND)
    expected = numpy(some().deltas).clip(-0.25, 0.25)[2:].mean(axis=0) + 1
    np.testing.assert_allclose(numpy(found.delta), expected, atol=1e-6)


def test_what_a_rule_draws_depends_on_seed_and_round_alone():
    torch.manual_seed(1), random.seed(1), np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    rule = make("byzfl:CAF[f=1]")
    first, second = (rule.aggregate(some(), RoundContext(round=number, seed=4)).delta for number in (1, 2))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert not torch.equal(first, second)
    expected = torch.randn(len(first), generator=torch.Generator().manual_seed(stream_seed(4, "byzfl", 1)))
    assert torch.equal(first, expected)
    assert torch.equal(make("byzfl:CAF[f=1]").aggregate(some(), RoundContext(round=2, seed=4)).delta, second)


def test_flower_gets_models_and_sizes_and_gives_an_update():
    updates = some()
    found = make("flwr:FedAvg").aggregate(updates, ROUND)
    sizes = numpy(updates.num_samples)
    np.testing.assert_allclose(numpy(found.delta), mean(updates, sizes), atol=1e-6)
    np.testing.assert_allclose(
        numpy(found.buffers), np.average(numpy(updates.buffers), axis=0, weights=sizes), rtol=1e-6
    )


@pytest.mark.parametrize("label", ["byzfl:TrMean", "flwr:FedAvgM[rate=0.5,server_momentum=0.5]"])
def test_what_a_rule_keeps_is_the_state(label):
    whole, first, again = make(label), make(label), make(label)
    for rule in (whole, first):
        rule.aggregate(some(seed=1), ROUND)
    assert first.state()
    again.load_state({name: value.clone() for name, value in first.state().items()})
    expected, found = (rule.aggregate(some(seed=2), RoundContext(round=2)).delta for rule in (whole, again))
    assert torch.equal(expected, found)


def test_momentum_starts_from_the_global_model_of_the_round():
    rule, deltas = make("flwr:FedAvgM[rate=0.5,server_momentum=0.5]"), []
    for seed in (1, 2):
        deltas.append(mean(some(seed=seed), numpy(some(seed=seed).num_samples)))
        found = rule.aggregate(some(seed=seed), RoundContext(round=seed)).delta
    np.testing.assert_allclose(numpy(found), 0.5 * (0.5 * deltas[0] + deltas[1]), atol=1e-6)


def test_bfloat16_updates_are_taken_for_their_values():
    rounded = some().deltas.bfloat16()
    for label in ("byzfl:Average", "flwr:FedAvg"):
        given = (replace(some(), deltas=deltas) for deltas in (rounded, rounded.float()))
        found, expected = (make(label).aggregate(updates, ROUND).delta for updates in given)
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


def test_another_mixes_updates_for_them():
    found = make("nnm[of=byzfl:Average,malicious=0]").aggregate(some(), ROUND)
    np.testing.assert_allclose(numpy(found.delta), mean(some()), atol=1e-6)


def test_a_stored_cell_is_read_without_the_library(tmp_path, monkeypatch):
    cell = CellSpec(dataset="digits", defense="byzfl:TrMean[f=1,pre=NNM[f=1]]")
    file = tmp_path / f"{cell.key}.json"
    content = {
        "format": FORMAT,
        "key": cell.key,
        "spec": cell.as_dict(),
        "status": "failed",
        "error": "",
        "provenance": {},
    }
    file.write_text(json.dumps(content))
    monkeypatch.setattr("clipfed_bench.components.families.find_spec", lambda name: None)
    found = read_cell(file, cell.key)["spec"]
    assert (found["defense_name"], found["defense"]) == ("byzfl:TrMean", "byzfl:TrMean[pre=NNM[f=1],f=1]")


def test_cells_are_stale_where_the_librarys_version_is_another(monkeypatch):
    digests = []
    for version in ("0.0.11", "0.0.12"):
        monkeypatch.setattr("clipfed_bench.components.families.version", lambda package, version=version: version)
        digests.append(Digests(None)._choice(choose("defense", "byzfl:Average")))
    assert digests[0] != digests[1]
    assert choose("defense", "byzfl:Average").component.made_with == "byzfl 0.0.12"
