"""Defenses on whole models by the names of their arrays. Flower itself, and its simulation, are in tests/oracle."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import clipfed_bench.flower
from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.core.errors import UserError
from clipfed_bench.flower.layout import Layout
from clipfed_bench.flower.server import DefenseServer, FlowerModel, Reply
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.toolbox.images import Images, ServerData

SHAPE = (3, 6, 6)
SERVER = ServerContext(4, tuple("abcd"), (0.5,) * 3, (0.25,) * 3, seed=2, assumed_malicious=0.25)


class Small(nn.Module):
    """A convolution, a normalization, and a linear layer of another name than here."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 4)

    def forward(self, images):
        return self.head(self.norm(self.conv(images)).mean(dim=(2, 3)))


def model(seed):
    draw = np.random.default_rng(seed)
    state = Small().state_dict()
    return {
        name: torch.from_numpy(np.asarray(draw.normal(size=value.shape))).to(value.dtype)
        if value.is_floating_point()
        else torch.tensor(seed)
        for name, value in state.items()
    }


def replies(count=6, ids=None):
    return [Reply(client, 10.0 + client, model(client)) for client in ids or range(1, count + 1)]


def served(defense, sent, number=1, server=SERVER, **more):
    return DefenseServer(defense, server, more.get("network"), SHAPE).aggregate(model(0), sent, number)


def by_hand(state, names):
    return np.concatenate([state[name].double().numpy().ravel() for name in names])


STATISTICS = ("norm.running_mean", "norm.running_var")
PARAMS = ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "head.weight", "head.bias")


def test_there_and_back():
    layout, state = Layout(model(0)), model(3)
    params, buffers = layout.flat(state)
    assert (params.dtype, buffers.tolist()) == (
        torch.float32,
        by_hand(state, ["norm.running_mean", "norm.running_var"]).tolist(),
    )
    back = layout.state(params, buffers, model(0))
    assert list(back) == list(state)
    for name, value in state.items():
        expected = value if value.is_floating_point() else model(0)[name]
        assert torch.equal(back[name], expected), name
        assert back[name].dtype == value.dtype


def test_layers_are_where_the_simulator_has_them():
    built = build_model("cnn", 10, 0)
    flat, layout = FlatModel(built), Layout(built.state_dict())
    params, _ = layout.flat(built.state_dict())
    assert dict(layout.shapes) == dict(flat.shapes)
    for name, place in layout.layers.items():
        assert torch.equal(params[place], flat.params[flat.layers[name]]), name


def test_the_last_linear_layer_is_the_classifier():
    layout = Layout(model(0))
    assert layout.shapes["classifier.weight"] == (4, 5)
    params, _ = layout.flat(model(3))
    assert torch.equal(params[layout.layers["classifier.bias"]], model(3)["head.bias"])


def updates(flat, sent, start=None):
    """As a cell's defense gets them; ``flat`` makes parameters and statistics of a model."""
    (params, buffers), own = flat(start or model(0)), [flat(reply.state) for reply in sent]
    return ClientUpdates(
        torch.stack([row - params for row, _ in own]),
        torch.stack([row for _, row in own]),
        torch.tensor([reply.images for reply in sent], dtype=torch.float64),
        tuple(reply.client for reply in sent),
        params,
        buffers,
    )


def flat_by_hand(state):
    """In the order of the names, which no distance asks for."""
    return tuple(torch.from_numpy(by_hand(state, names)).float() for names in (PARAMS, STATISTICS))


@pytest.mark.parametrize("defense", ["fedavg", "krum", "trimmed-mean", "rfa", "norm-clip"])
def test_a_round_is_the_defense_on_the_differences(defense):
    sent = replies()
    found, figures = served(defense, sent[::-1])  # whoever is first
    made = create_defense(choose("defense", defense), SERVER)
    given = updates(flat_by_hand, sent)
    expected = made.aggregate(given, RoundContext(1, SERVER.seed))
    np.testing.assert_allclose(by_hand(found, PARAMS), given.global_params + expected.delta, atol=1e-6)
    np.testing.assert_allclose(by_hand(found, STATISTICS), expected.buffers, atol=1e-6)
    assert figures.get("kept") == (None if expected.kept is None else expected.kept.sum())
    assert figures.keys() >= expected.info.keys()


@pytest.mark.parametrize("defense", ["foolsgold", "freqfed"])
def test_defenses_that_look_into_layers_find_them(defense):
    layout, sent = Layout(model(0)), replies()
    found, _ = served(defense, sent)
    made = create_defense(choose("defense", defense), replace(SERVER, model=lambda: layout))
    given = updates(layout.flat, sent)
    expected = given.global_params + made.aggregate(given, RoundContext(1, SERVER.seed)).delta
    assert torch.equal(layout.flat(found)[0], expected)


def test_defenses_that_run_the_model_are_given_the_network():
    """With other weights than the global model's, on pixels that are normalized first."""
    server_model = FlowerModel(model(0), SERVER, Small, SHAPE)
    pixels = torch.rand(7, *SHAPE, generator=torch.Generator().manual_seed(0))
    network = Small()
    network.load_state_dict(model(5) | {"norm.num_batches_tracked": torch.tensor(0)})
    with torch.no_grad():
        expected = network.eval()((pixels - 0.5) / 0.25)
    found = server_model.predict(*server_model.layout.flat(model(5)), pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="runs the model on the server; give DefenseStrategy its network"):
        FlowerModel(model(0), SERVER, None, SHAPE).predict(*server_model.layout.flat(model(5)), pixels)


class Polish(Defense):
    """Keeps the model, then adds 1 to the last bias, and counts its rounds."""

    rounds = 0

    def aggregate(self, updates, context):
        self.rounds += 1
        return Aggregate(torch.zeros_like(updates.global_params), updates.global_buffers, info={"rounds": self.rounds})

    def purify(self, network, context):
        network.head.bias.data += 1


def test_the_model_is_purified_and_the_defense_lives_from_round_to_round(monkeypatch):
    monkeypatch.setattr("clipfed_bench.flower.server.create_defense", lambda choice, server: Polish(None, server))
    server, state = DefenseServer("fedavg", SERVER, Small, SHAPE), model(0)
    for number in (1, 2):
        state, figures = server.aggregate(state, replies(), number)
    assert figures == {"rounds": 2.0}
    np.testing.assert_allclose(state["head.bias"], model(0)["head.bias"] + 2, atol=1e-6)
    assert torch.equal(state["conv.weight"], model(0)["conv.weight"])
    with pytest.raises(UserError, match="trains the global model; give DefenseStrategy its network"):
        served("fedavg", replies())


class PixelTeacher:
    """Of some pixels it makes features."""

    def __init__(self):
        self.text_prototypes = F.normalize(torch.eye(10, 16) + 0.1, dim=1)

    def image_features(self, images):
        return F.normalize(images.flatten(1)[:, :16].float() + 1, dim=1)

    def zero_shot_logits(self, features):
        return 10 * features @ self.text_prototypes.T


def test_clip_fed_filters_and_purifies_as_in_a_cell():
    shape, label = (3, 8, 8), "clip-fed[augment=none,lr=0.1,rectify_epochs=1,transfer_epochs=1]"
    draw = torch.Generator().manual_seed(1)
    images = Images(torch.randint(0, 256, (40, *shape), generator=draw, dtype=torch.uint8), torch.arange(40) % 10)
    data, teacher = ServerData(images, ("",) * 40, "made for tests", "0"), PixelTeacher()
    server = ServerContext(10, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, 1, server_data=lambda: data)
    server = replace(server, teacher=lambda: teacher)

    def cnn(seed=0):
        return build_model("cnn", 10, seed, image_shape=shape)

    start, sent = cnn().state_dict(), [Reply(client, 10.0, cnn(client).state_dict()) for client in range(1, 6)]
    found, figures = DefenseServer(label, server, cnn, shape).aggregate(start, sent, 1)
    defense, layout = create_defense(choose("defense", label), server), Layout(start)
    result = defense.aggregate(updates(layout.flat, sent, start), RoundContext(1, 1))
    params, buffers = layout.flat(start)
    averaged = layout.state(params + result.delta, buffers, start)
    network = cnn()
    network.load_state_dict(averaged)
    defense.purify(network, RoundContext(1, 1))
    assert figures["kept"] == result.kept.sum()
    assert (network.classifier.weight - averaged["classifier.weight"]).abs().max() > 1e-3
    for name, value in network.state_dict().items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_client_that_diverged_is_dropped():
    sent = replies()
    sent[2].state["conv.bias"][0] = np.inf
    expected, _ = served("fedavg", [*sent[:2], *sent[3:]])
    found, _ = served("fedavg", sent)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("defense", "sent", "message"),
    [
        ("krmu", replies(1), "unknown defense 'krmu'. Did you mean 'krum'"),
        ("fltrust", replies(1), "fltrust needs server_data; give them to the ServerContext"),
        ("clip-fed", replies(1), "clip-fed needs server_data"),
        ("fedavg", replies(2, (4, 4)), "of the clients 4, 4 one has replied twice"),
        (
            "fedavg",
            [Reply(1, 1.0, {"conv.weight": torch.ones(2)})],
            r"conv\.weight of a client is \(2,\); it has",
        ),
        ("fedavg", [Reply(1, 1.0, {})], r"conv\.weight of a client is absent"),
    ],
)
def test_what_cannot_be_aggregated(defense, sent, message):
    with pytest.raises(UserError, match=message):
        served(defense, sent)


def test_fltrust_asks_for_the_training_that_only_the_user_knows():
    images = torch.zeros(200, *SHAPE, dtype=torch.uint8)
    data = ServerData(Images(images, torch.arange(200) % 4), ("",) * 200, "made for tests", "0")
    with pytest.raises(UserError, match=r"trains on the server as clients do, which only you know"):
        served("fltrust", replies(), server=replace(SERVER, server_data=lambda: data))


def test_a_model_of_counts_alone_is_none():
    with pytest.raises(UserError, match="a model of the arrays steps has no parameters"):
        Layout({"steps": torch.tensor(3)})


def test_the_page_shows_the_example_that_is_run():
    root = Path(__file__).parents[2]
    page, app = ((root / path).read_text(encoding="utf-8") for path in ("docs/flower.md", "tests/oracle/flower_app.py"))
    assert f"```python\n{app}```" in page


def test_flower_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr", None)
    monkeypatch.delitem(sys.modules, "clipfed_bench.flower.strategy", raising=False)
    with pytest.raises(ImportError, match=r"clipfed_bench\.flower needs pip install 'clipfed-bench\[flwr\]'"):
        _ = clipfed_bench.flower.DefenseStrategy
