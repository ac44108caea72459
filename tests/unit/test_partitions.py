"""Each partition has the distribution that its paper states."""

import math
from itertools import pairwise

import numpy as np
import pytest

from clipfed_bench.data.partition import partition


def counts(labels, parts, classes):
    return np.stack([np.bincount(labels[p.numpy()], minlength=classes) for p in parts])


def balanced(classes=10, each=2000):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(classes), each))


def test_iid_sizes_differ_by_at_most_one_and_classes_are_even():
    labels = balanced()
    parts = partition(labels, 10, 30, "iid", seed=0)
    sizes = [len(p) for p in parts]
    assert max(sizes) - min(sizes) <= 1
    expected = len(labels) / 300
    assert ((counts(labels, parts, 10) - expected) ** 2 / expected).sum() < 300 + 5 * math.sqrt(600)  # chi-square


def test_dirichlet_shares_have_the_moments_of_the_distribution():
    """Mean 1/n, variance (1/n)(1 - 1/n)/(n·alpha + 1) of each class's share (Dir(alpha·1))."""
    labels, clients, alpha = balanced(40, 2000), 10, 0.5
    shares = np.concatenate(
        [counts(labels, partition(labels, 40, clients, "dirichlet", min_samples=0, seed=s), 40).T for s in range(30)]
    ) / 2000  # fmt: skip
    assert shares.sum(axis=1) == pytest.approx(1)
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    assert shares.mean(axis=0) == pytest.approx(1 / clients, abs=5 * math.sqrt(variance / 1200))
    assert shares.var() == pytest.approx(variance, rel=0.1)


def test_dirichlet_extremes():
    labels = balanced()
    even = counts(labels, partition(labels, 10, 20, "dirichlet[alpha=1e6]", seed=0), 10)
    assert np.abs(even - 100).max() <= 2
    skewed = partition(labels, 10, 20, "dirichlet[alpha=1e-4]", min_samples=0, seed=0)
    assert (counts(labels, skewed, 10).max(axis=0) >= 1990).all()


def test_degree_shares():
    """q of class l in group l, (1-q)/(C-1) in each other group; even within a group (FLTrust VI-A)."""
    labels, q, classes, clients = balanced(10, 5000), 0.4, 10, 30
    held = counts(labels, partition(labels, classes, clients, "degree[degree=0.4]", min_samples=0, seed=0), 10)
    groups = np.stack([held[g::classes].sum(axis=0) for g in range(classes)]) / 5000
    expected = np.full((10, 10), (1 - q) / 9)
    np.fill_diagonal(expected, q)
    assert groups == pytest.approx(expected, abs=5 * math.sqrt(q * (1 - q) / 5000))
    sizes = held.sum(axis=1)
    assert sizes == pytest.approx(np.full(30, 50000 / 30), abs=5 * math.sqrt(50000 / 30))


def test_degree_one_over_classes_is_iid_and_one_is_one_class_each():
    labels = balanced(10, 3000)
    even = counts(labels, partition(labels, 10, 10, "degree[degree=0.1]", seed=1), 10)
    assert even == pytest.approx(np.full((10, 10), 300), abs=5 * math.sqrt(300))
    pure = counts(labels, partition(labels, 10, 10, "degree[degree=1]", seed=1), 10)
    assert np.array_equal(pure, 3000 * np.eye(10, dtype=int))


def test_degree_with_groups_of_unequal_size():
    labels = balanced(10, 1000)
    held = counts(labels, partition(labels, 10, 13, "degree[degree=1]", min_samples=0, seed=1), 10)
    assert [int((held[:, c] > 0).sum()) for c in range(10)] == [2, 2, 2, 1, 1, 1, 1, 1, 1, 1]


def test_two_shards_hold_at_most_two_classes_each_as_in_the_paper():
    """MNIST's case: 100 clients of 2 shards of 300 out of 60,000 images that 300 divides the classes of."""
    labels = balanced(10, 600)
    held = counts(labels, partition(labels, 10, 100, "shards", seed=0), 10)
    assert (held.sum(axis=1) == 60).all()
    assert set(np.unique(held)) <= {0, 30, 60}, "whole shards of one class"
    assert 1.5 < (held > 0).sum(axis=1).mean() <= 2
    assert (held > 0).sum(axis=0).max() <= 20, "a class is 20 shards"


def test_shards_that_do_not_come_out_even():
    """Against the sorted row, cut by hand: 103 images in 9 shards are of 11 or 12."""
    labels = np.arange(103) % 4
    cuts = [math.ceil(103 * shard / 9) for shard in range(10)]
    pieces = [np.sort(labels)[a:b].tolist() for a, b in pairwise(cuts)]
    assert {len(piece) for piece in pieces} == {11, 12}
    alone = partition(labels, 4, 9, "shards[per_client=1]", seed=2)
    assert sorted(sorted(labels[p.numpy()].tolist()) for p in alone) == sorted(pieces)
    assert all(33 <= len(p) <= 36 for p in partition(labels, 4, 3, "shards[per_client=3]", seed=2))


def test_the_sizes_of_quantity_have_the_moments_of_the_distribution_and_classes_are_even():
    """Mean 1/n, variance (1/n)(1 - 1/n)/(n·beta + 1) of a client's share of all images (Dir(beta·1))."""
    labels, clients, beta = balanced(10, 100), 10, 0.5
    runs = [partition(labels, 10, clients, "quantity", min_samples=0, seed=s) for s in range(200)]
    shares = np.array([[len(p) for p in parts] for parts in runs]) / 1000
    variance = (1 / clients) * (1 - 1 / clients) / (clients * beta + 1)
    assert shares.var() == pytest.approx(variance, rel=0.1)
    largest = max((p for parts in runs for p in parts), key=len)
    held = np.bincount(labels[largest.numpy()], minlength=10)
    assert held == pytest.approx(np.full(10, len(largest) / 10), abs=5 * math.sqrt(len(largest) / 10))


def test_a_writers_images_stay_together():
    writers = np.random.default_rng(0).integers(0, 50, 2000) * 3 + 1
    labels = np.arange(2000) % 10
    for clients in (50, 20, 1):
        parts = partition(labels, 10, clients, "natural", min_samples=0, writers=writers)
        own = [set(writers[p.numpy()].tolist()) for p in parts]
        assert sum(map(len, own)) == len(set.union(*own)) == 50
        assert max(map(len, own)) - min(map(len, own)) <= 1
