"""RKD: whom it distills, by the steps of its authors' code in float64, and what the server's model learns of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from makers.images import server_data
from makers.updates import CLASSES, LAYERS, SIZE, Layout, numpy, random_deltas, updates_of

from baselines.rkd import RKD, Config, benign
from clipfed_bench.api import RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.images import Images

hdbscan = pytest.importorskip("hdbscan")
BIAS = LAYERS["classifier.bias"]


class Model(Layout):
    """Its logits are ten pixel values and the classifier's bias."""

    def predict(self, params, buffers, pixels):
        return pixels.flatten(1)[:, :CLASSES] + params[BIAS]


def pictures():
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 2, 2), generator=stream, dtype=torch.uint8)
    return server_data(Images(pixels, torch.arange(40) % CLASSES))


def make(**options):
    server = ServerContext(CLASSES, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, server_data=pictures, model=Model)
    return RKD(Config(**options), server)


def ensemble_reference(models, smallest, most):
    values = np.zeros(len(models))
    for place in LAYERS.values():
        parts, mean = models[:, place], models[:, place].mean(axis=0)
        for k, part in enumerate(parts):
            values[k] += part @ mean / np.sqrt((part @ part) * (mean @ mean)) / len(LAYERS)
    labels = np.full(len(models), -1)
    if len(models) >= 3:
        labels = hdbscan.HDBSCAN(min_cluster_size=smallest, metric="euclidean").fit_predict(values.round(12)[:, None])
    best = max(set(labels), key=lambda label: values[labels == label].mean())
    rows = np.flatnonzero(labels == best)
    medians = np.sort(models, axis=1)[:, (SIZE - 1) // 2]
    overall = np.sort(medians[rows])[(len(rows) - 1) // 2]
    return rows, sorted(rows, key=lambda k: abs(medians[k] - overall))[:most]


@pytest.mark.parametrize(("count", "round_", "smallest"), [(1, 1, 2), (2, 1, 2), (4, 1, 2), (12, 5, 2), (20, 1, 4)])
def test_whom_it_distills_by_the_steps_of_the_code(count, round_, smallest):
    for seed in range(3):
        params = np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)
        updates = updates_of(random_deltas(seed, count), params=params, samples=range(1, count + 1))
        models = numpy(updates.global_params + updates.deltas)
        alike, chosen = ensemble_reference(models, smallest, most=5)
        defense = make(ensemble=5)
        result = defense.aggregate(updates, RoundContext(round_))
        assert result.kept.nonzero().flatten().tolist() == sorted(chosen)
        assert result.info == {"rkd_benign": len(alike), "rkd_ensemble": len(chosen)}
        np.testing.assert_allclose(result.delta, numpy(updates.deltas)[chosen].mean(axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(result.buffers, numpy(updates.buffers)[chosen].mean(axis=0), rtol=1e-5)
        logits = numpy(pictures().data.images.flatten(1)[:, :CLASSES]) / 255 + models[chosen, BIAS].mean(axis=0)
        shares = np.exp(logits / 2) / np.exp(logits / 2).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(defense._labels, shares, rtol=1e-4)


def test_models_that_are_unlike_the_mean_are_left_out():
    for seed in range(3):
        draw = np.random.default_rng(seed)
        params = draw.normal(size=SIZE)
        deltas = 0.2 * draw.normal(size=(10, SIZE))
        deltas[:3] += 1.5 * draw.normal(size=SIZE)
        kept = make().aggregate(updates_of(deltas, params=params), RoundContext(1)).kept
        assert not kept[:3].any()
        assert kept.sum() >= 2


def test_the_clients_in_no_cluster_are_one_and_equal_means_all_benign():
    values = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.95], dtype=torch.float64)
    assert benign(values, 2).tolist() == [False] * 4 + [True]
    assert benign(torch.tensor([0.3, 0.9], dtype=torch.float64), 2).tolist() == [True, True]
    assert benign(torch.full((6,), 0.5, dtype=torch.float64), 2).all()


def test_the_order_of_clients_decides_nothing():
    deltas = random_deltas(1, 9)
    turned = list(range(9))[::-1]
    one = make().aggregate(updates_of(deltas), RoundContext(1)).kept
    other = make().aggregate(updates_of(deltas[turned], clients=turned), RoundContext(1)).kept
    assert torch.equal(other[turned], one)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cluster": 1.5}, r"rkd: cluster 1\.5"),
        ({"ensemble": 0}, "rkd: ensemble 0"),
        ({"epochs": 0}, "rkd: epochs 0"),
        ({"temperature": 0.0}, r"rkd: temperature 0\.0"),
        ({"swa_lr": 0.0}, r"rkd: swa_lr 0\.0"),
    ],
)
def test_impossible_options_say_what_is_right(options, text):
    with pytest.raises(UserError, match=text):
        make(**options)
