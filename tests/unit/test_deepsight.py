"""DeepSight: each measure against slow references, the clustering by hand, and the effect of the whole."""

import math

import numpy as np
import pytest
import torch
from makers.updates import updates_of

from baselines import deepsight
from clipfed_bench.api import RoundContext, ServerContext, ServerModel
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox import clustering
from clipfed_bench.toolbox.rng import generator

CLASSES, FEATURES = 10, 12
SIZE = 5 + CLASSES * (FEATURES + 1)
ROUND = RoundContext(round=2, seed=4)


class Linear(ServerModel):
    """Five parameters that do nothing, and a linear classifier on images of 12 numbers; buffers shift the inputs."""

    layers = {"scale": slice(0, 5), "classifier.weight": slice(5, 125), "classifier.bias": slice(125, 135)}  # noqa: RUF012
    shapes = {"scale": (5,), "classifier.weight": (CLASSES, FEATURES), "classifier.bias": (CLASSES,)}  # noqa: RUF012
    image_shape = (3, 2, 2)

    def train(self, data, params, buffers, context, as_many=None):
        raise NotImplementedError

    def predict(self, params, buffers, pixels):
        assert pixels.shape[1:] == self.image_shape
        return (pixels.flatten(1) + buffers.sum()) @ params[5:125].view(CLASSES, FEATURES).T + params[125:]


SERVER = ServerContext(CLASSES, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, model=Linear)


def to_random_model(deltas, seed=0):
    """Updates of clients with an image each."""
    params = 0.3 * np.random.default_rng(seed).normal(size=SIZE)
    return updates_of(deltas, params=params, samples=[1.0] * len(deltas))


def backdoored(benign=8, poisoned=2, seed=1):
    """Benign clients trained on all classes; attackers on one: only its output neuron moved. (K, SIZE)."""
    draw = np.random.default_rng(seed)
    good = 0.1 * draw.normal(size=SIZE) + 0.02 * draw.normal(size=(benign, SIZE))
    bad = np.zeros((poisoned, SIZE))
    bad[:, 5 + 3 * FEATURES : 5 + 4 * FEATURES] = 0.3
    bad[:, 125 + 3] = 0.5
    return np.concatenate([good, bad + 0.001 * draw.normal(size=bad.shape)])


def energies_reference(deltas):
    rows = []
    for d in deltas:
        weight, bias = d[5:125].reshape(CLASSES, FEATURES), d[125:]
        rows.append([(abs(bias[p]) + sum(abs(w) for w in weight[p])) ** 2 for p in range(CLASSES)])
    return rows


@pytest.mark.parametrize("outputs", [10, 200])
def test_suspicious_are_models_with_few_threshold_exceedings(outputs):
    draw = np.random.default_rng(outputs)
    energy = draw.exponential(size=(9, outputs)) ** 4
    energy[2] = 1
    energy[5] = np.eye(outputs)[0]
    factor = max(0.01, 1 / outputs)
    counts = [sum(e >= factor * max(row) for e in row) for row in energy.tolist()]
    expected = [c <= sorted(counts)[4] / 2 for c in counts]
    assert deepsight.homogeneous(torch.from_numpy(energy)).tolist() == expected
    assert expected[5]
    assert not all(expected)
    assert counts[2] == outputs
    assert deepsight.homogeneous(torch.zeros(3, outputs).double()).tolist() == [False] * 3


def test_ddifs_are_mean_ratios_of_output_probabilities():
    updates = to_random_model(0.2 * np.random.default_rng(0).normal(size=(3, SIZE)))
    defense = deepsight.DeepSight(deepsight.Config(samples=6, seeds=2), SERVER)
    found = defense._ddifs(Linear(), updates, ROUND)
    stream = generator(ROUND.seed, "deepsight-inputs", ROUND.round)

    def probabilities(params, image):
        weight, bias = params[5:125].reshape(CLASSES, FEATURES), params[125:]
        outputs = [
            math.exp(sum(w * x for w, x in zip(weight[p], image, strict=True)) + bias[p]) for p in range(CLASSES)
        ]
        return np.array(outputs) / sum(outputs)

    before = updates.global_params.double().numpy()
    for ddif in found:
        inputs = torch.rand(6, 3, 2, 2, generator=stream).double().flatten(1).numpy()
        for row, delta in zip(ddif, updates.deltas.double().numpy(), strict=True):
            ratios = [probabilities(before + delta, x) / probabilities(before, x) for x in inputs]
            np.testing.assert_allclose(row, np.mean(ratios, axis=0), rtol=1e-4)
    assert len(found) == 2
    assert not torch.equal(*found)  # each seed draws its own inputs


def groups_apart(*groups):
    """Distances 0 to 0.1 within groups and 1 between."""
    count = sum(len(g) for g in groups)
    matrix = torch.ones(count, count, dtype=torch.float64)
    for group in groups:
        for i in group:
            for j in group:
                matrix[i, j] = 0.0 if i == j else 0.05 + 0.001 * (i + j)
    return matrix


def test_clusters():
    labels = clustering.clusters(groups_apart([0, 2, 4, 5], [1, 3], [6])).tolist()
    assert labels[0] == labels[2] == labels[4] == labels[5] != labels[1] == labels[3]
    assert min(labels[:6]) >= 0
    assert labels[6] == -1
    assert clustering.clusters(torch.zeros(2, 2)).tolist() == [-1, -1]
    assert clustering.clusters(torch.zeros(6, 6)).tolist() == [-1] * 6  # not told apart: no cluster


def test_all_clients_are_never_one_cluster():
    for seed in range(60):
        draw = np.random.default_rng(seed)
        votes = torch.from_numpy(draw.integers(0, 4, size=(draw.integers(3, 15),) * 2) / 3.0)
        labels = clustering.clusters(torch.maximum(votes, votes.T).fill_diagonal_(0))
        assert labels.min() == -1 or labels.max() > 0


def test_hdbscan_is_required(monkeypatch):
    """Scikit-learn's answers where distances tie are others."""
    monkeypatch.setattr(clustering.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="deepsight needs the package hdbscan"):
        deepsight.DeepSight(deepsight.Config(), SERVER)
    with pytest.raises(UserError, match="pip install hdbscan"):
        clustering.clusters(torch.zeros(2, 2))


def test_ensemble_gives_each_measure_one_voice():
    split, other = groups_apart([0, 1, 2, 3], [4, 5, 6]), groups_apart([0, 4, 5, 6], [1, 2, 3])
    two_of_three = deepsight.ensemble([split], [split], [other]).tolist()
    assert len(set(two_of_three[1:4])) == len(set(two_of_three[4:])) == 1
    assert two_of_three[1] != two_of_three[4]
    # Many seeds of one measure do not outvote the two others.
    labels = deepsight.ensemble([split], [other] * 9, [split]).tolist()
    assert labels[1:] == two_of_three[1:]
    assert labels[0] != labels[4]


@pytest.mark.parametrize(
    ("labels", "suspicious", "expected"),
    [
        ([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0]),  # a quarter is below a third
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]),  # a third is not
        ([-1, -1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]),  # noise: one by one
        ([0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0]),  # nothing accepted: those not suspicious
    ],
)
def test_accepted(labels, suspicious, expected):
    kept = deepsight.accepted(torch.tensor(labels), torch.tensor(suspicious, dtype=torch.bool), 1 / 3)
    assert kept.tolist() == [bool(e) for e in expected]


def test_deepsight_excludes_models_trained_on_one_class_and_clips_to_the_median_norm():
    for seed in range(5):
        deltas = backdoored(seed=seed)
        deltas[0] *= 3
        updates = to_random_model(deltas)
        result = deepsight.DeepSight(deepsight.Config(), SERVER).aggregate(updates, ROUND)
        assert result.kept.tolist() == [True] * 8 + [False] * 2
        norms = [math.sqrt((d**2).sum()) for d in deltas]
        bound = float(np.median(norms))
        clipped = [d * min(1, bound / n) for d, n in zip(deltas[:8], norms, strict=False)]
        np.testing.assert_allclose(result.delta, np.mean(clipped, axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(result.buffers, updates.buffers[:8].mean(dim=0))
        assert result.info == {"deepsight_suspicious": 2, "deepsight_clip": pytest.approx(bound, rel=1e-5)}


def test_a_client_with_few_classes_in_a_benign_cluster_is_kept():
    """What the clustering is for: being suspicious alone does not exclude a client."""
    energy = torch.tensor(energies_reference(backdoored()))
    assert deepsight.homogeneous(energy).tolist() == [False] * 8 + [True] * 2
    labels, suspicious = torch.tensor([0] * 8 + [1] * 2), torch.tensor([False] * 7 + [True] * 3)
    assert deepsight.accepted(labels, suspicious, 1 / 3).tolist() == [True] * 8 + [False] * 2


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (deepsight.Config(samples=0), "deepsight: samples 0"),
        (deepsight.Config(seeds=0), "deepsight: seeds 0"),
        (deepsight.Config(tau=0.0), "deepsight: tau 0.0"),
    ],
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        deepsight.DeepSight(config, SERVER)
