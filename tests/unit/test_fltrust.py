"""FLTrust against the paper's formulas, its root data, and the server's own model that it trains."""

import math

import numpy as np
import pytest
import torch
from makers.images import random_images, server_data
from makers.updates import updates_of
from miniature import miniature

from baselines import fltrust
from clipfed_bench.api import RoundContext, ServerContext, ServerModel
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import evaluate
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.local import Hyper, Task, batches
from clipfed_bench.simulator.server_model import CellServerModel
from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.distances import cosines
from clipfed_bench.toolbox.images import Dataset, Images, Normalizer

ROUND = RoundContext(round=3, seed=11)


class Recorder(ServerModel):
    """ "Trains" to a given update and remembers what it was asked to train on."""

    def __init__(self, update):
        self.update, self.seen = torch.as_tensor(update, dtype=torch.float32), []

    def train(self, data, params, buffers, context, as_many=None):
        self.seen.append((data, params, buffers, context, as_many))
        return self.update, buffers + 1e6

    def predict(self, params, buffers, pixels):
        raise NotImplementedError


def root_data(labels):
    pixels = torch.arange(len(labels)).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    return server_data(Images(pixels, torch.as_tensor(labels)))


def make(update, config=None, labels=range(10), seed=0):
    model = Recorder(update)
    server = ServerContext(
        *(10, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, seed),
        server_data=lambda: root_data(list(labels)),
        model=lambda: model,
    )
    return fltrust.FLTrust(config or fltrust.Config(), server), model


def weighted(deltas):
    """Of clients with 1, 2, ... images, to a model of ones."""
    ones = [1.0] * len(deltas[0])
    return updates_of(deltas, params=ones, samples=range(1, len(deltas) + 1), global_buffers=[7.0, 8.0])


@pytest.mark.parametrize("count", [1, 4, 10])
def test_fltrust_equals_equations_2_to_4(count):
    draw = np.random.default_rng(count)
    for _ in range(5):
        reference = draw.normal(size=50)
        updates = weighted(reference + 3 * draw.normal(size=(count, 50)) * draw.uniform(0.1, 9, (count, 1)))
        defense, _ = make(reference)
        result = defense.aggregate(updates, ROUND)
        g0, points = defense.model.update.double().numpy(), updates.deltas.double().numpy()
        norm0 = math.sqrt((g0**2).sum())
        trust, rescaled = [], []
        for g in points:
            norm = math.sqrt((g**2).sum())
            trust.append(max(0.0, (g * g0).sum() / (norm * norm0)))
            rescaled.append(norm0 / norm * g)
        if not sum(trust):
            continue
        expected = sum(t * g for t, g in zip(trust, rescaled, strict=True)) / sum(trust)
        np.testing.assert_allclose(result.delta, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(result.buffers, np.array(trust) @ updates.buffers.numpy() / sum(trust), rtol=1e-5)
        assert result.kept.tolist() == [t > 0 for t in trust]
        assert result.info["fltrust_trust"] == pytest.approx(sum(trust) / count)


def test_fltrust_excludes_opposite_updates_and_shrinks_large_ones():
    draw = np.random.default_rng(0)
    direction = draw.normal(size=200)
    benign = direction + 0.5 * draw.normal(size=(6, 200))
    deltas = np.concatenate([benign, -10 * benign[:2], 1000 * benign[:1]])
    result = make(direction)[0].aggregate(weighted(deltas), ROUND)
    assert result.kept.tolist() == [True] * 6 + [False] * 2 + [True]
    assert np.linalg.norm(result.delta.numpy() - direction) < 0.3 * np.linalg.norm(direction)


@pytest.mark.parametrize("reference", [[1.0, 1.0], [0.0, 0.0]])
def test_without_trust_the_global_model_stays(reference):
    updates = weighted([[-1.0, 0.0], [0.0, -5.0], [0.0, 0.0]])
    result = make(reference)[0].aggregate(updates, ROUND)
    assert result.delta.tolist() == [0, 0]
    assert result.buffers.tolist() == [7, 8]
    assert not result.kept.any()


def test_the_server_trains_on_the_root_data_from_the_global_model():
    updates = weighted([[1.0, 2.0]])
    defense, model = make([1.0, 1.0], fltrust.Config(4))
    defense.prepare()
    defense.aggregate(updates, ROUND)
    defense.aggregate(updates, RoundContext(4, 11))
    (data, params, buffers, context, as_many), (again, *_) = model.seen
    assert as_many == 1  # the images of the only client
    assert len(data) == 4
    assert torch.equal(data.images, again.images)  # fixed for a cell
    assert (params is updates.global_params, buffers is updates.global_buffers, context) == (True, True, ROUND)
    assert data.images[:, 0, 0, 0].tolist() == data.labels.tolist()  # images and labels belong together


def test_the_server_trains_as_long_as_the_median_client_or_for_as_many_epochs():
    updates = weighted([[1.0, 2.0]] * 4)  # 1, 2, 3 and 4 images
    for steps, expected in (("clients", 2.5), ("epochs", None)):
        defense, model = make([1.0, 1.0], fltrust.Config(4, steps))
        defense.aggregate(updates, ROUND)
        assert model.seen[0][-1] == expected
    with pytest.raises(UserError, match="fltrust: unknown steps 'rounds'"):
        make([1.0], fltrust.Config(steps="rounds"))


@pytest.mark.parametrize(("as_many", "steps"), [(None, 6), (20, 6), (2.5, 2), (65, 18), (64, 16)])
def test_server_training_takes_as_many_steps_as_a_client_with_that_many_images(as_many, steps):
    """Batches of 8, two epochs, 20 root images: three batches an epoch."""
    taken = []

    class Recorder:
        compute = Compute()

        def train(self, tasks, *rest):
            taken.extend(tasks[0].order)

    data = Dataset("made", tuple("0123456789"), random_images(4, 4), random_images(4, 4), (0.5,) * 3, (0.25,) * 3, "")
    model = CellServerModel("cnn", 0, data, HYPER, Recorder())
    flat = FlatModel(build_model("cnn", 10, 5))
    model.train(random_images(20, 20), flat.params, flat.buffers, ROUND, as_many)
    assert len(taken) == steps
    plain = [len(index) for index in batches(20, HYPER, ROUND.seed, ROUND.round, 0, purpose="server")]
    assert [len(index) for index in taken] == (plain * 3)[:steps]
    assert len(set(torch.cat(taken[:3]).tolist())) == min(20, 8 * steps)  # all images before any comes again


def test_root_data_are_balanced_seeded_and_as_many_as_there_are():
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 50)
    chosen = fltrust.balanced_choice(labels, 20, seed=1)
    assert len(set(chosen.tolist())) == 20
    assert sorted(labels[chosen].bincount().tolist()) == [3, 8, 9]
    assert labels[fltrust.balanced_choice(labels, 9, seed=1)].bincount().tolist() == [3, 3, 3]
    assert torch.equal(chosen, fltrust.balanced_choice(labels, 20, seed=1))
    assert not torch.equal(chosen, fltrust.balanced_choice(labels, 20, seed=2))
    assert sorted(fltrust.balanced_choice(labels, 1000, seed=1).tolist()) == list(range(103))
    assert fltrust.Config() == fltrust.Config(root_samples=100)
    with pytest.raises(UserError, match="fltrust: root_samples 0"):
        make([1.0], fltrust.Config(root_samples=0))


def test_cosines():
    draw = np.random.default_rng(0)
    matrix, vector = draw.normal(size=(3, 300_000)), draw.normal(size=300_000)  # more than one block of columns
    matrix[1] = 0
    expected = [(m @ vector) / math.sqrt((m @ m) * (vector @ vector)) if m.any() else 0 for m in matrix]
    found = cosines(torch.from_numpy(matrix).float(), torch.from_numpy(vector).float())
    np.testing.assert_allclose(found, expected, atol=1e-7)


# --- the server's own model ------------------------------------------------------------------------------------------

HYPER = Hyper(epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.0)


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_server_training_is_a_clients_training_with_a_stream_of_its_own(name):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    data = Dataset("made", tuple("0123456789"), random_images(4, 4), random_images(4, 4), mean, std, "")
    executor = Executor(build_model(name, 10, 0), Normalizer(mean, std), HYPER)
    model, root = CellServerModel(name, 0, data, HYPER, executor), random_images(*(20, 20) if name == "cnn" else (9, 9))
    flat = FlatModel(build_model(name, 10, 5))  # the cell's model: another one
    params, buffers = flat.params.clone(), flat.buffers.clone()
    delta, statistics = model.train(root, flat.params, flat.buffers, ROUND)
    assert torch.equal(flat.params, params)
    assert torch.equal(flat.buffers, buffers)
    order = list(batches(len(root), HYPER, ROUND.seed, ROUND.round, 0, purpose="server"))
    assert not torch.equal(torch.cat(order), torch.cat(list(batches(len(root), HYPER, ROUND.seed, ROUND.round, 0))))
    logits = model.predict(params, buffers, root.images.float() / 255)
    deltas, own = torch.empty_like(params)[None], torch.empty_like(buffers)[None]
    executor.train([Task(root, order)], params, buffers, deltas, own)
    assert torch.equal(delta, deltas[0])
    assert torch.equal(statistics, own[0])
    plain = build_model(name, 10, 5).eval()
    normal = (root.images.float() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(logits, plain(normal).detach(), rtol=1e-4, atol=1e-4)
    for key, p in plain.named_parameters():
        moved = p.permute(0, 2, 3, 1) if p.dim() == 4 else p
        assert model.shapes[key] == tuple(moved.shape)
        assert torch.equal(params[model.layers[key]].view(model.shapes[key]), moved)


@pytest.mark.parametrize("defense", ["fltrust", "foolsgold", "fedcpa", "rlr", "deepsight[samples=16]", "freqfed"])
def test_a_cell_with_each_of_the_defenses(tmp_path, defense):
    spec = CellSpec(
        dataset="digits", model="cnn", warmup_rounds=0, clients=8, clients_per_round=5, rounds=2, local_epochs=1,
        batch_size=32, lr=0.05, eval_every=1, defense=defense,
    )  # fmt: skip
    env = Environment(cache_dir=tmp_path / "cache", warmup_dir=tmp_path / "warmups")
    with miniature(evaluate, train=4):
        first, second = run_cell(spec, env), run_cell(spec, env)
    assert [r["mta"] for r in first.history] == [r["mta"] for r in second.history]
    assert [r["asr"] for r in first.history] == [r["asr"] for r in second.history]
    assert len({r["mta"] for r in first.history}) > 1  # the model moved
    assert (spec.server_data is not None) == (defense == "fltrust")
    assert ("server_hash" in first.provenance) == (defense == "fltrust")
