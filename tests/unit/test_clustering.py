"""The majority cluster against its closed form, with both libraries, and in the cases that these leave open."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfed_bench.toolbox import clustering
from clipfed_bench.toolbox.distances import round_significant


def by_hdbscan(distances):
    from hdbscan import HDBSCAN

    return HDBSCAN(len(distances) // 2 + 1, min_samples=1, metric="precomputed", allow_single_cluster=True)


def by_scikit_learn(distances):
    from sklearn.cluster import HDBSCAN  # counts the point itself among its samples

    settings = {"min_samples": 2, "metric": "precomputed", "allow_single_cluster": True, "copy": True}
    return HDBSCAN(len(distances) // 2 + 1, **settings)


def distances_of(points):
    points = np.asarray(points, dtype=np.float64)
    return torch.from_numpy(np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1)))


def majority_reference(distances):
    """The first connected component with more than half of the points as the threshold grows (single linkage)."""
    count = len(distances)
    for threshold in sorted(set(distances.flatten().tolist())):
        component = list(range(count))
        for i in range(count):
            for j in range(count):
                if distances[i, j] <= threshold and component[i] != component[j]:
                    component = [component[i] if c == component[j] else c for c in component]
        largest = max(set(component), key=component.count)
        if component.count(largest) >= count // 2 + 1:
            return [c == largest for c in component]
    raise AssertionError("the largest distance connects all points")


def random_points(seed, kind):
    generator = np.random.default_rng(seed)
    count = generator.integers(3, 14)
    if kind == "continuous":
        return generator.normal(size=(count, 3))
    return generator.integers(0, {"ties": 4, "duplicates": 2}[kind], size=(count, 2))


@pytest.mark.parametrize("kind", ["continuous", "ties", "duplicates"])
@pytest.mark.parametrize("library", [by_hdbscan, by_scikit_learn])
def test_equals_the_closed_form_and_both_libraries(library, kind):
    for seed in range(60):
        distances = distances_of(random_points(seed, kind))
        before = distances.clone()
        kept = clustering.majority_cluster(distances).tolist()
        assert kept == majority_reference(distances), (kind, seed)
        assert torch.equal(distances, before)
        theirs = library(distances).fit(round_significant(distances).numpy()).labels_ >= 0
        assert kept == theirs.tolist(), (kind, seed)


def test_hand_made_majority():
    points = [[0.0], [0.1], [9], [0.3], [0.2], [9.1], [0.15], [30]]  # five close, a pair, a loner
    kept = clustering.majority_cluster(distances_of(points))
    assert kept.tolist() == [True, True, False, True, True, False, True, False]
    assert kept.dtype == torch.bool


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_identical_clients_are_all_kept(count):
    assert clustering.majority_cluster(torch.zeros(count, count)).tolist() == [True] * count


@pytest.mark.parametrize("count", [3, 4, 9])
def test_equidistant_clients_are_all_kept(count):
    assert clustering.majority_cluster(1 - torch.eye(count)).all()


def test_two_clients_however_far_apart_are_kept():
    assert clustering.majority_cluster(torch.tensor([[0.0, 2.0], [2.0, 0.0]])).tolist() == [True, True]


def test_three_clients_keep_the_nearest_pair():
    assert clustering.majority_cluster(distances_of([[0], [5], [6]])).tolist() == [False, True, True]


def test_identical_majority_beside_others_is_the_cluster():
    points = [[1, 1]] * 4 + [[2, 1], [1, 3], [0, 0]]
    assert clustering.majority_cluster(distances_of(points)).tolist() == [True] * 4 + [False] * 3


@given(st.integers(0, 2**31), st.sampled_from(["continuous", "ties", "duplicates"]))
@settings(max_examples=60, deadline=None)
def test_order_and_rounding_errors_do_not_matter(seed, kind):
    distances = distances_of(random_points(seed, kind))
    generator = np.random.default_rng(seed)
    kept = clustering.majority_cluster(distances)
    order = torch.from_numpy(generator.permutation(len(distances)))
    assert torch.equal(clustering.majority_cluster(distances[order][:, order]), kept[order])
    noise = torch.from_numpy(generator.uniform(-1, 1, distances.shape))
    assert torch.equal(clustering.majority_cluster(distances * (1 + 1e-15 * (noise + noise.T))), kept)
    assert torch.equal(clustering.majority_cluster(distances**2), kept)


def test_rows_of_the_matrix_are_distances_and_not_features():
    """A known bug of public FLAMEs; here it would give another answer, so the tests above would see it."""
    differ = 0
    for seed in range(20):
        distances = distances_of(random_points(seed, "continuous"))
        differ += majority_reference(distances) != majority_reference(distances_of(distances))
    assert differ >= 3
