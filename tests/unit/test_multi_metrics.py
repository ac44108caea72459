"""Multi-Metrics against a slow reference, client by client, in both forms, and its effect."""

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, updates_of

from baselines import multi_metrics
from baselines.multi_metrics import Config, MultiMetrics, mahalanobis_scores, pairwise_manhattan_distances
from clipfed_bench.core.errors import UserError


def cosine(a, b):
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def reference(deltas, params, features):
    """Scores of the clients: each metric by itself, then xᵀ Σ⁻¹ x."""
    models, rows = [params + delta for delta in deltas], []
    for i, a in enumerate(models):
        row = np.zeros(3)
        for j, b in enumerate(models):
            if features == "pairwise":
                length = abs(np.sqrt((a * a).sum()) - np.sqrt((b * b).sum()))
                row += (1 - cosine(a, b)) ** 2 if i != j else 0, abs(a - b).sum(), length
            else:
                row[0] += abs(abs(a - params).sum() - abs(b - params).sum())
                row[1] += abs(np.sqrt(((a - params) ** 2).sum()) - np.sqrt(((b - params) ** 2).sum()))
                row[2] += abs(cosine(a, params) - cosine(b, params))
        rows.append(row)
    inverse = np.linalg.inv(np.cov(np.array(rows).T))
    return [row @ inverse @ row for row in rows]


@pytest.mark.parametrize("features", ["global", "pairwise"])
@pytest.mark.parametrize(("count", "keep"), [(5, 0.3), (10, 0.3), (9, 0.5), (10, 1.0)])
def test_equals_the_formulas(features, count, keep):
    for seed in range(4):
        draw = np.random.default_rng([seed, count])
        deltas = (draw.normal(size=(count, 70)) + 0.3) * draw.uniform(0.001, 0.02, (count, 1))
        updates = updates_of(deltas, params=draw.normal(size=70), samples=draw.integers(1, 500, count))
        points, params = numpy(updates.deltas), numpy(updates.global_params)
        scores = reference(points, params, features)
        function = getattr(multi_metrics, f"{features}_features")
        found = mahalanobis_scores(function(updates.deltas, updates.global_params))
        np.testing.assert_allclose(found, scores, rtol=1e-4)
        chosen = sorted(np.argsort(scores)[: max(int(keep * count), 1)].tolist())
        result = MultiMetrics(Config(keep, features), SERVER).aggregate(updates, ROUND)
        assert result.kept.nonzero().flatten().tolist() == chosen
        weights = updates.num_samples.numpy()[chosen]
        np.testing.assert_allclose(result.delta, weights @ points[chosen] / weights.sum(), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(result.buffers, weights @ updates.buffers.numpy()[chosen] / weights.sum(), rtol=1e-6)


@pytest.mark.parametrize("kind", ["long", "sparse", "turned"])
def test_attackers_who_stand_out_in_one_metric_are_excluded(kind):
    """They send longer updates; updates of a usual norm in few coordinates; or turn against the global model."""
    for seed in range(10):
        draw = np.random.default_rng(seed)
        params = draw.normal(size=400)
        deltas = 0.1 * params + draw.normal(size=(10, 400)) * draw.uniform(0.9, 1.1, (10, 1))
        norms = np.linalg.norm(deltas[:2], axis=1, keepdims=True)
        if kind == "long":
            deltas[:2] *= 3
        elif kind == "turned":
            deltas[:2] -= 0.6 * params
        else:
            deltas[:2, 40:] *= 0.05
            deltas[:2] *= norms / np.linalg.norm(deltas[:2], axis=1, keepdims=True)
        result = MultiMetrics(Config(), SERVER).aggregate(updates_of(deltas, params=params), ROUND)
        assert not result.kept[:2].any()
        assert result.kept.sum() == 3


def test_the_scale_of_the_features_does_not_matter():
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(8, 3)))
    scaled = features * torch.tensor([1e-9, 1.0, 1e6], dtype=torch.float64)
    torch.testing.assert_close(mahalanobis_scores(scaled), mahalanobis_scores(features))


def test_features_without_variance_say_nothing():
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(8, 3)))
    features[:, 1] = 0.1
    torch.testing.assert_close(mahalanobis_scores(features), mahalanobis_scores(features[:, [0, 2]]))
    assert mahalanobis_scores(torch.ones(4, 3, dtype=torch.float64)).tolist() == [0] * 4


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10])
def test_of_equal_clients_the_first_ids_are_kept(count):
    result = MultiMetrics(Config(), SERVER).aggregate(updates_of(np.ones((count, 6)), range(count, 0, -1)), ROUND)
    assert result.kept.tolist() == [k >= count - max(int(0.3 * count + 1e-9), 1) for k in range(count)]


def test_manhattan_distances(monkeypatch):
    matrix = torch.randn(5, 200, generator=torch.Generator().manual_seed(0))
    expected = torch.cdist(matrix.double(), matrix.double(), p=1)
    monkeypatch.setattr(multi_metrics, "blocks", lambda m: torch.split(m, 70, dim=1))
    torch.testing.assert_close(pairwise_manhattan_distances(matrix), expected)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(keep=0.0), "multi-metrics: keep 0.0"),
        (Config(keep=1.1), "multi-metrics: keep 1.1"),
        (Config(features="none"), "multi-metrics: unknown features 'none'"),
    ],
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        MultiMetrics(config, SERVER)
