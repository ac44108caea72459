"""RFLBAT against slow references: k-means and gap statistic by trying all partitions, each step, and its effect."""

import itertools

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, updates_of

from baselines.rflbat import RFLBAT, Config, without_outliers
from clipfed_bench.api import RoundContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox import kmeans
from clipfed_bench.toolbox.pca import principal_scores


def stream():
    return torch.Generator().manual_seed(5)


def partitions(count, clusters):
    """All ways to put ``count`` points into that many clusters, as labels by first appearance."""
    for labels in itertools.product(range(clusters), repeat=count):
        if list(dict.fromkeys(labels)) == list(range(clusters)):
            yield np.array(labels)


def inertia(points, labels):
    return sum(((points[labels == k] - points[labels == k].mean(axis=0)) ** 2).sum() for k in set(labels))


def best(points, clusters):
    found = list(partitions(len(points), clusters))
    sums = [inertia(points, labels) for labels in found]
    return min(sums), found[int(np.argmin(sums))].tolist()


def canonical(labels):
    names = list(dict.fromkeys(labels))
    return [names.index(label) for label in labels]


@pytest.mark.parametrize("clusters", [1, 2, 3, 4])
def test_kmeans_finds_the_best_partition_of_each_set(clusters):
    points = np.random.default_rng(clusters).normal(size=(4, 6, 2))
    labels, sums = kmeans.kmeans(points, clusters, stream())
    for k in range(4):
        assert (pytest.approx(sums[k]), canonical(labels[k].tolist())) == best(points[k], clusters)


def reference_clusters(points, most, references=5):
    scaled = (points - points.min(axis=0)) / (points.max(axis=0) - points.min(axis=0))
    uniform = torch.rand(references, *points.shape, generator=stream(), dtype=torch.float64).numpy()
    gaps, errors = [], []
    for k in range(1, min(most, len(points) - 1) + 1):
        drawn = [np.log(best(other, k)[0]) for other in uniform]
        gaps.append(np.mean(drawn) - np.log(best(scaled, k)[0]))
        errors.append(np.sqrt(1 + 1 / references) * np.std(drawn))
    for k in range(len(gaps) - 1):
        if gaps[k] >= gaps[k + 1] - errors[k + 1]:
            return k + 1
    return len(gaps)


def test_the_number_of_clusters_is_that_of_the_gap_statistic():
    found = set()
    for seed in range(8):
        draw = np.random.default_rng(seed)
        points = draw.normal(size=(6, 2)) + 20 * draw.integers(0, 1 + seed % 3, size=(6, 1))
        count = reference_clusters(points, 3)
        assert len(set(kmeans.cluster(points, 3, stream()).tolist())) == count
        found.add(count)
    assert found == {1, 2, 3}


def test_clusters_of_equal_points():
    points = np.repeat([[1.0, 1.0], [9.0, 0.0]], 4, axis=0)
    assert canonical(kmeans.cluster(points, 8, stream()).tolist()) == [0] * 4 + [1] * 4
    assert set(kmeans.cluster(np.ones((5, 2)), 8, stream()).tolist()) == {0}
    assert kmeans.cluster(np.ones((1, 2)), 8, stream()).tolist() == [0]


def test_outliers_by_the_median_of_the_sums_of_distances():
    points = torch.tensor(
        [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [60.0, 0.0], [0.0, 9.0]], dtype=torch.float64
    )
    rows = torch.tensor([0, 1, 2, 3, 4])
    sums = [sum(float((points[i] - points[j]).norm()) for j in rows) for i in rows]
    for factor in (0.1, 1.0, 3.0, 10.0):
        inside = [i for i in range(5) if sums[i] <= factor * np.median(sums) + 1e-9]
        assert without_outliers(points, rows, factor).tolist() == (inside or rows.tolist())


def steps_reference(deltas, config, labels_of):
    """Steps 1 to 5, given what k-means says."""
    centered = deltas - deltas.mean(axis=0)
    left, values, _ = np.linalg.svd(centered, full_matrices=False)
    points = left[:, :2] * values[:2]

    def inliers(rows, factor):
        sums = [sum(np.linalg.norm(points[i] - points[j]) for j in rows) for i in rows]
        return [i for i, s in zip(rows, sums, strict=True) if s <= factor * np.median(sums) * (1 + 1e-12)]

    rows, scores = inliers(range(len(deltas)), config.eps1), {}
    labels = labels_of(points[rows])
    unit = deltas / np.linalg.norm(deltas, axis=1, keepdims=True)
    for label in set(labels):
        members = [i for i, k in zip(rows, labels, strict=True) if k == label]
        if len(members) > 1:
            means = [np.mean([unit[i] @ unit[j] for j in members if j != i]) for i in members]
            scores[np.median(means)] = members
    return inliers(scores[min(scores)], config.eps2) if scores else rows


@pytest.mark.parametrize("config", [Config(), Config(eps1=1.2, eps2=1.1), Config(clusters=2)])
def test_equals_the_steps(config):
    for seed in range(6):
        draw = np.random.default_rng(seed)
        deltas = draw.normal(size=(9, 50)) + 3 * np.repeat(draw.normal(size=(3, 50)), (4, 3, 2), axis=0)
        updates = updates_of(deltas)
        labels = lambda points: kmeans.cluster(points, config.clusters, ROUND.generator("rflbat-clusters"))  # noqa: E731
        expected = steps_reference(numpy(updates.deltas), config, labels)
        result = RFLBAT(config, SERVER).aggregate(updates, ROUND)
        assert result.kept.nonzero().flatten().tolist() == expected
        np.testing.assert_allclose(result.delta, numpy(updates.deltas)[expected].mean(axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(result.buffers, updates.buffers[expected].mean(dim=0))
        assert result.info["rflbat_kept"] == len(expected)


def test_attackers_with_a_common_goal_are_left_out():
    for seed in range(5):
        draw = np.random.default_rng(seed)
        honest = draw.normal(size=200) * 0.3 + draw.normal(size=(7, 200))
        attackers = 3 * draw.normal(size=200) + 0.2 * draw.normal(size=(3, 200))
        result = RFLBAT(Config(), SERVER).aggregate(updates_of(np.concatenate([attackers, honest])), ROUND)
        assert not result.kept[:3].any()
        assert result.kept[3:].sum() >= 2  # some of them: honest clients may be several clusters


def test_an_enormous_update_is_left_out():
    deltas = np.random.default_rng(0).normal(size=(8, 200))
    deltas[2] *= 1000
    assert not RFLBAT(Config(), SERVER).aggregate(updates_of(deltas), ROUND).kept[2]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_equal_and_zero_updates_are_kept(count):
    for value in (0.0, 2.0):
        result = RFLBAT(Config(), SERVER).aggregate(updates_of(np.full((count, 8), value)), RoundContext(1))
        assert result.kept.all()


def test_scores_are_those_of_scikit_learn_whatever_the_signs():
    points = np.random.default_rng(0).normal(size=(7, 5))
    squared = torch.from_numpy(((points[:, None] - points[None]) ** 2).sum(axis=2))
    left, values, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(principal_scores(squared, 2).abs(), np.abs(left[:, :2] * values[:2]), atol=1e-10)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(eps1=0.0), "rflbat: eps1 0.0"),
        (Config(eps2=-1.0), "rflbat: eps2 -1.0"),
        (Config(clusters=0), "rflbat: clusters 0"),
    ],
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        RFLBAT(config, SERVER)
