"""Snowball: elections against slow references on the differences themselves, the autoencoder, and the effect."""

import numpy as np
import pytest
import torch
from makers.updates import LAYERS, ROUND, SERVER, SIZE, numpy, updates_of

from baselines import snowball
from baselines.snowball import Config, Snowball
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.vae import Autoencoder

NAMES = ("conv.weight", "classifier.weight", "classifier.bias")
QUICK = Config(initial=8, tuning=2, hidden=16, latent=4)


def groups(seed, sizes=(5, 3, 2), spread=1.0):
    draw = np.random.default_rng(seed)
    centers = 2 * draw.normal(size=(len(sizes), SIZE))
    return np.repeat(centers, sizes, axis=0) + spread * draw.normal(size=(sum(sizes), SIZE))


def squared(points):
    return torch.from_numpy(((points[:, None] - points[None]) ** 2).sum(axis=2))


def lloyd(points, starts):
    """K-means from these points as centers, with means; a center that loses all its points takes none again."""
    centers, labels = np.array([points[k] for k in starts]), None
    for _ in range(100):
        found = [int(np.argmin([((p - c) ** 2).sum() for c in centers])) for p in points]
        if found == labels:
            break
        labels = found
        members = [points[[label == c for label in labels]] for c in range(len(centers))]
        centers = np.array([m.mean(axis=0) if len(m) else np.full_like(points[0], 1e9) for m in members])
    return labels


def index(points, labels):
    """Calinski and Harabasz, with means."""
    kinds, middle = sorted(set(labels)), points.mean(axis=0)
    if not 1 < len(kinds) < len(points):
        return 0.0
    parts = [points[[k == kind for k in labels]] for kind in kinds]
    between = sum(len(part) * ((part.mean(axis=0) - middle) ** 2).sum() for part in parts) / (len(kinds) - 1)
    within = sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts) / (len(points) - len(kinds))
    return between / within


def votes_reference(points, farthest):
    count, scores, ballots = len(points), [], []
    for k in range(count):
        apart = points[k] - points  # what the client sees
        far = np.argsort(-np.linalg.norm(apart, axis=1))[:farthest]
        labels = lloyd(apart, [k, *far])
        scores.append(index(apart, labels))
        ballots.append([label == labels[k] for label in labels])
    weights = (np.array(scores) - min(scores)) / (max(scores) - min(scores))
    return weights @ np.array(ballots)


@pytest.mark.parametrize("farthest", [0.2, 0.3])
def test_votes_equal_those_of_kmeans_on_the_differences(farthest):
    for seed in range(4):
        points = groups(seed)[:, :40]
        expected = votes_reference(points, round(farthest * 10))
        np.testing.assert_allclose(snowball.layer_votes(squared(points), farthest), expected, rtol=1e-6, atol=1e-9)


def test_index_of_clusters_without_spread_and_of_one():
    points = np.repeat([[0.0], [1.0]], 3, axis=0)
    assert snowball.calinski_harabasz(squared(points), torch.tensor([0, 0, 0, 1, 1, 1])) == 1
    assert snowball.calinski_harabasz(squared(points), torch.zeros(6).long()) == 0
    assert snowball.calinski_harabasz(squared(points), torch.arange(6)) == 0


def elected(updates, config):
    result = Snowball(config, SERVER).aggregate(updates, ROUND)
    chosen = result.kept.nonzero().flatten().tolist()
    weights = updates.num_samples.numpy()[chosen]
    for found, values in ((result.delta, updates.deltas), (result.buffers, updates.buffers)):
        np.testing.assert_allclose(found, weights @ numpy(values)[chosen] / weights.sum(), rtol=1e-4, atol=1e-5)
    return chosen


def test_the_first_are_those_with_the_most_votes_over_the_layers():
    for seed in range(4):
        updates = updates_of(groups(seed), samples=range(1, 11))
        points = numpy(updates.deltas)
        votes = sum(votes_reference(points[:, LAYERS[name]], 2) for name in NAMES)
        assert elected(updates, Config(keep=0.2)) == sorted(np.argsort(-votes, kind="stable")[:2].tolist())


def test_who_is_added_is_reconstructed_best():
    """The steps from the top, with an autoencoder that is made, taught and asked in the same order."""
    updates = updates_of(groups(3), samples=range(1, 11))
    points = torch.cat([updates.deltas[:, LAYERS[name]] for name in NAMES], dim=1)
    votes = sum(votes_reference(numpy(updates.deltas)[:, LAYERS[name]], 2) for name in NAMES)
    chosen = np.argsort(-votes, kind="stable")[:2].tolist()
    learner = Autoencoder(points.shape[1], 16, 4, ROUND.generator("snowball-autoencoder"), torch.device("cpu"))
    for epochs in (10, 2, 2):
        pairs = [points[i] - points[j] for i in chosen for j in chosen if i != j]
        learner.train(torch.sigmoid(torch.stack(pairs)), epochs)
        errors = {}
        for k in sorted(set(range(10)) - set(chosen)):
            apart = [points[i] - points[k] for i in chosen]
            errors[k] = learner.errors(torch.sigmoid(torch.stack([*apart, *(-a for a in apart)]))).mean().item()
        chosen.append(min(errors, key=errors.__getitem__))
    assert elected(updates, QUICK) == sorted(chosen)


def test_clients_who_differ_from_all_others_are_not_elected():
    for seed in range(3):
        assert set(elected(updates_of(groups(seed, sizes=(8, 1, 1))), QUICK)) < set(range(8))


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_equal_and_zero_updates(count):
    for value in (0.0, 1.0):
        result = Snowball(QUICK, SERVER).aggregate(updates_of(np.full((count, SIZE), value)), ROUND)
        assert result.kept.sum() == {1: 1, 2: 2, 3: 2, 10: 5}[count]
        assert result.delta.tolist() == pytest.approx([value] * SIZE)


def test_the_loss_of_the_autoencoder_equals_its_formula():
    learner = Autoencoder(7, 5, 3, torch.Generator().manual_seed(0), torch.device("cpu"))
    draw = np.random.default_rng(0)
    rows, noise, loss = draw.uniform(size=(4, 7)), draw.normal(size=(4, 3)), 0.0
    layers = {name: [p.detach().double().numpy() for p in layer] for name, layer in learner.layers.items()}
    for x, e in zip(rows, noise, strict=True):
        inner = x
        for name in ("e1", "e2"):
            inner = np.maximum(layers[name][0] @ inner + layers[name][1], 0)
        mean = layers["mean"][0] @ inner + layers["mean"][1]
        spread = np.log1p(np.exp(layers["spread"][0] @ inner + layers["spread"][1]))
        inner = mean + e * np.exp(spread / 2)
        for name in ("d1", "d2"):
            inner = np.maximum(layers[name][0] @ inner + layers[name][1], 0)
        out = 1 / (1 + np.exp(-(layers["d3"][0] @ inner + layers["d3"][1])))
        loss += ((out - x) ** 2).sum() - 0.5 * (1 + spread - mean**2 - np.exp(spread)).sum()
    found = learner.loss(torch.from_numpy(rows).float(), torch.from_numpy(noise).float())
    assert float(found.detach()) == pytest.approx(loss, rel=1e-5)


def test_the_autoencoder_reconstructs_what_it_has_learned_and_nothing_else():
    stream = torch.Generator().manual_seed(1)
    known = (0.5 + 0.4 * torch.randn(30, generator=stream)).clamp(0, 1)
    rows = (known + 0.02 * torch.randn(16, 30, generator=stream)).clamp(0, 1)
    learner = Autoencoder(30, 32, 8, stream, torch.device("cpu"))
    before = learner.errors(rows).mean()
    learner.train(rows, 60)
    errors = learner.errors(torch.stack([known, 1 - known]))
    assert errors[0] < 0.3 * before
    assert errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(farthest=0.0), "snowball: farthest 0.0"),
        (Config(keep=1.5), "snowball: keep 1.5"),
        (Config(step=0.0), "snowball: step 0.0"),
        (Config(hidden=0), "snowball: hidden 0"),
    ],
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        Snowball(config, SERVER)
