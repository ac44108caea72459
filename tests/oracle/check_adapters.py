"""byzfl:NAME and flwr:NAME are the libraries' rules, called as their users call them."""

from __future__ import annotations

import byzfl
import flwr.serverapp.strategy
import numpy as np
import pytest
import torch
from libraries import Flower, FlowerMessages, layers
from makers.updates import SERVER, numpy, random_deltas, updates_of

from clipfed_bench.api import RoundContext
from clipfed_bench.components.families import members
from clipfed_bench.components.registry import choose, create_defense, families
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.rng import stream_seed

CLIENTS, MALICIOUS, SEEDS = 11, 2, range(3)
F = {"CAF", "Krum", "MDA", "Meamed", "MoNNA", "MultiKrum", "SMEA", "TrMean"}
BYZFL = ["Average", "CenteredClipping[tau=5.0]", "GeometricMedian[nu=0.5,T=4]", "Median"]
BYZFL += [f"{name}[f={MALICIOUS}]" for name in sorted(F)]
BEFORE = {"ARC": "f=2", "Bucketing": "s=3", "Clipping": "c=1.5", "NNM": "f=2"}
FLWR = {
    "FedAvg": {},
    "FedMedian": {},
    "FedTrimmedAvg": {"beta": 0.2},
    "Krum": {"num_malicious_nodes": MALICIOUS},
    "MultiKrum": {"num_malicious_nodes": MALICIOUS, "num_nodes_to_select": 5},
    "Bulyan": {"num_malicious_nodes": MALICIOUS},
    "FedAvgM": {"server_momentum": 0.9, "server_learning_rate": 0.5},
    "FedAdagrad": {"eta": 0.02},
    "FedAdam": {"eta": 0.02},
    "FedYogi": {"eta": 0.02},
}


def some(seed, number=1):
    draw = np.random.default_rng([seed, number])
    deltas = random_deltas(100 * seed + number, CLIENTS)
    return updates_of(deltas, params=draw.normal(size=deltas.shape[1]), samples=draw.integers(1, 500, CLIENTS))


def rule(text):
    """ByzFL's object, made by hand."""
    name, _, rest = text.rstrip("]").partition("[")
    given = (pair.split("=") for pair in rest.split(",") if pair)
    return getattr(byzfl, name)(
        **{key: float(value) if "." in value or key in ("tau",) else int(value) for key, value in given}
    )


def test_every_rule_is_compared():
    byzfl_family, flwr_family = (families("defense")[name] for name in ("byzfl", "flwr"))
    assert {f"byzfl:{text.partition('[')[0]}" for text in BYZFL} == set(members("byzfl", byzfl_family.library))
    assert {f"flwr:{name}" for name in FLWR} == set(members("flwr", flwr_family.library))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("text", BYZFL)
def test_byzfl(text, seed):
    ours, theirs = create_defense(choose("defense", f"byzfl:{text}"), SERVER), rule(text)
    for number in (1, 2):
        updates = some(seed, number)
        found = ours.aggregate(updates, RoundContext(number, seed)).delta
        torch.manual_seed(stream_seed(seed, "byzfl", number))
        assert torch.equal(found, theirs(updates.deltas.clone()))


@pytest.mark.parametrize("before", BEFORE)
def test_byzfl_after_a_preaggregator(before):
    label = f"byzfl:Krum[f=1,pre={before}[{BEFORE[before]}]]"
    found = create_defense(choose("defense", label), SERVER).aggregate(some(0), RoundContext(round=3))
    torch.manual_seed(stream_seed(0, "byzfl", 3))
    mixed = rule(f"{before}[{BEFORE[before]}]")(some(0).deltas.clone())
    assert torch.equal(found.delta, byzfl.Krum(1)(mixed))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FLWR)
def test_flwr(name, seed):
    """Two rounds of the strategy by hand, which goes on from the models that it has made."""
    options = FLWR[name]
    label = f"flwr:{name}[{','.join(f'{key}={value}' for key, value in options.items())}]"
    ours = create_defense(choose("defense", label), SERVER)
    theirs = getattr(flwr.serverapp.strategy, name)(fraction_train=0.0, **options)
    for number in (1, 2):
        updates = some(seed, number)
        model = updates.global_params
        found = ours.aggregate(updates, RoundContext(round=number, seed=seed)).delta
        theirs.current_arrays = None
        theirs.configure_train(number, flwr.app.ArrayRecord(layers(model.numpy())), flwr.app.ConfigRecord(), None)
        points = (model + updates.deltas).numpy()
        expected = FlowerMessages().aggregate(theirs, points, updates.num_samples.long().numpy(), number)
        np.testing.assert_allclose(numpy(found), expected.astype(float) - numpy(model), atol=2e-7)


def test_flower_of_its_older_interface_agrees():
    for seed in SEEDS:
        updates = some(seed)
        points = (updates.global_params + updates.deltas).numpy()
        for label, expected in (
            ("FedMedian", Flower().median(points)),
            ("FedTrimmedAvg", Flower().trimmed_mean(points, 0.2)),
        ):
            found = create_defense(choose("defense", f"flwr:{label}"), SERVER).aggregate(updates, RoundContext(round=1))
            np.testing.assert_allclose(numpy(found.delta), expected - numpy(updates.global_params), atol=1e-6)


def test_the_geometric_median_is_the_mean_of_updates_shorter_than_nu():
    small = updates_of(0.001 * random_deltas(0, CLIENTS))
    assert small.deltas.norm(dim=1).max() < 0.1
    found = create_defense(choose("defense", "byzfl:GeometricMedian"), SERVER).aggregate(small, RoundContext(round=1))
    np.testing.assert_allclose(numpy(found.delta), numpy(small.deltas).mean(axis=0), atol=1e-9)
    ours = create_defense(choose("defense", "rfa"), SERVER).aggregate(small, RoundContext(round=1))
    assert (ours.delta - found.delta).norm() > 0.01 * found.delta.norm()


def test_limits_are_the_libraries_own():
    for label, message in (
        ("byzfl:Krum[f=6]", "2f"),
        ("byzfl:CAF", "its f"),
        ("flwr:Bulyan[num_malicious_nodes=3]", "more"),
    ):
        with pytest.raises(UserError, match=message):
            create_defense(choose("defense", label), SERVER).aggregate(some(0), RoundContext(round=1))
