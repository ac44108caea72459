"""A defense of ours as a strategy in Flower's simulation, on digits: the models are those of rounds by hand."""

from __future__ import annotations

from pathlib import Path

import flower_app
import numpy as np
import pytest
import torch
from flower_app import CLIENTS, SERVER
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clipfed_bench.api import ClientUpdates, RoundContext
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.core.errors import UserError
from clipfed_bench.flower import DefenseStrategy

STATISTICS = ("1.running_mean", "1.running_var")


def names(state, statistics):
    """Those of the parameters, or of the running statistics, in the order of the record."""
    return [name for name in state if (name in STATISTICS) == statistics and "tracked" not in name]


def flat(state, statistics):
    """All of them in one vector."""
    return torch.cat([state[name].flatten() for name in names(state, statistics)])


def set_flat(state, vector, statistics):
    for name in names(state, statistics):
        part, vector = vector[: state[name].numel()], vector[state[name].numel() :]
        state[name] = part.view(state[name].shape)


def rounds_by_hand(defense, rounds):
    """The model after so many rounds, without Flower, and how many clients the defense kept in each."""
    made = create_defense(choose("defense", defense), SERVER)
    network, kept = flower_app.network(), []
    for number in range(1, rounds + 1):
        start = {name: value.clone() for name, value in network.state_dict().items()}
        own, samples = [], []
        for client in range(CLIENTS):
            network.load_state_dict(start)
            samples.append(flower_app.train(network.train(), client))
            own.append({name: value.clone() for name, value in network.state_dict().items()})
        params, buffers = (torch.stack([flat(state, statistics) for state in own]) for statistics in (False, True))
        before, sizes = flat(start, False), torch.tensor(samples, dtype=torch.float64)
        updates = ClientUpdates(params - before, buffers, sizes, tuple(range(CLIENTS)), before, flat(start, True))
        result = made.aggregate(updates, RoundContext(number, SERVER.seed))
        kept.append(CLIENTS if result.kept is None else int(result.kept.sum()))
        set_flat(start, before + result.delta, False)
        set_flat(start, result.buffers, True)
        network.load_state_dict(start)
    return network.state_dict(), kept


@pytest.mark.parametrize("defense", ["multi-krum[malicious=0.16]", "centered-clip[tau=0.5]"])
def test_flowers_simulation_comes_to_the_same_model(defense, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")  # of Ray's workers
    found = flower_app.simulate(defense, 2)
    expected, kept = rounds_by_hand(defense, 2)
    model = found.arrays.to_torch_state_dict()
    assert list(model) == list(expected)
    for name in model:
        np.testing.assert_allclose(model[name], expected[name], atol=1e-6, err_msg=name)
    metrics = found.train_metrics_clientapp
    assert [metrics[number].get("defense-kept", CLIENTS) for number in (1, 2)] == kept
    assert "client-id" not in metrics[1]


@pytest.fixture
def messages(monkeypatch):
    """Makes the messages of a round: Flower has them only within a run."""
    for name in ("run_id", "node_id", "task_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 1)

    def make(*metrics, error=None):
        state = flower_app.network().state_dict()
        asked = [Message(RecordDict(), dst_node_id=10 + i, message_type="train") for i in range(len(metrics))]
        sent = [{"arrays": ArrayRecord(state), "metrics": MetricRecord({"num-examples": 5, **one})} for one in metrics]
        replies = [Message(RecordDict(one), reply_to=message) for one, message in zip(sent, asked, strict=True)]
        return [*replies, Message(error, reply_to=asked[0])] if error else replies

    return make


def strategy(**more):
    made = DefenseStrategy("fedavg", SERVER, fraction_train=0.0, **more)
    made.configure_train(1, ArrayRecord(flower_app.network().state_dict()), ConfigRecord(), None)
    return made


def test_metrics_are_flowers_own_with_those_of_the_defense(messages):
    arrays, metrics = strategy().aggregate_train(1, messages({"loss": 1.0}, {"loss": 2.0}))
    assert dict(metrics) == {"loss": 1.5}
    assert list(arrays) == list(flower_app.network().state_dict())


def test_replies_that_fail_are_left_out_and_none_is_no_model(messages):
    arrays, _ = strategy().aggregate_train(1, messages({}, error=Error(1, "lost")))
    assert arrays is not None
    assert strategy().aggregate_train(1, []) == (None, None)


def test_clients_that_go_by_no_number_are_refused(messages):
    with pytest.raises(UserError, match=r"clients reply client-id as 1\.5; they must be whole numbers"):
        strategy().aggregate_train(1, messages({"client-id": 1.5}))


def test_a_misspelt_defense_is_said_before_any_round():
    with pytest.raises(UserError, match=r"unknown defense 'krmu'\. Did you mean 'krum'"):
        DefenseStrategy("krmu", SERVER)
