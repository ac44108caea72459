"""Partitions: every image to exactly one client, the stated minimum, the stated distributions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfed_bench.core.errors import UserError
from clipfed_bench.data.partition import partition


def counts(labels, parts, classes):
    return np.stack([np.bincount(labels[p.numpy()], minlength=classes) for p in parts])


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    scheme=st.sampled_from(["iid", "dirichlet", "degree"]),
    classes=st.integers(1, 12),
    clients=st.integers(1, 30),
    samples=st.integers(1, 400),
    alpha=st.floats(1e-6, 1e6),
    degree=st.floats(0, 1),
    seed=st.integers(0, 2**40),
)
def test_every_image_goes_to_one_client_and_every_client_gets_the_minimum(
    data, scheme, classes, clients, samples, alpha, degree, seed
):
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples)))
    minimum = data.draw(st.integers(0, samples // clients))
    if scheme == "degree" and clients < classes:
        clients, minimum = classes, min(minimum, samples // classes)
    parts = partition(
        labels, classes, clients, scheme=scheme, alpha=alpha, degree=degree, min_samples=minimum, seed=seed
    )
    assert len(parts) == clients
    assert sorted(torch.cat(parts).tolist()) == list(range(samples))
    assert all(p.dtype == torch.int64 and bool((p.diff() > 0).all()) for p in parts)
    assert min(len(p) for p in parts) >= minimum


def balanced(classes=10, each=2000):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(classes), each))


@pytest.mark.parametrize("scheme", ["iid", "dirichlet", "degree"])
def test_same_seed_same_parts_and_other_seed_other_parts(scheme):
    def parts(seed):
        return partition(balanced(), 10, 20, scheme=scheme, alpha=0.5, degree=0.4, min_samples=1, seed=seed)

    assert all(torch.equal(a, b) for a, b in zip(parts(1), parts(1), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(parts(1), parts(2), strict=True))


def test_tensor_and_array_labels_give_the_same_parts():
    labels = balanced()
    options = {"scheme": "dirichlet", "alpha": 0.3, "degree": None, "min_samples": 5, "seed": 3}
    pairs = zip(partition(labels, 10, 7, **options), partition(torch.from_numpy(labels), 10, 7, **options), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_iid_sizes_differ_by_at_most_one_and_classes_are_even():
    labels = balanced()
    parts = partition(labels, 10, 30, scheme="iid", seed=0)
    sizes = [len(p) for p in parts]
    assert max(sizes) - min(sizes) <= 1
    expected = len(labels) / 300
    assert ((counts(labels, parts, 10) - expected) ** 2 / expected).sum() < 300 + 5 * math.sqrt(600)  # chi-square


def test_dirichlet_shares_have_the_moments_of_the_distribution():
    """Mean 1/n, variance (1/n)(1 - 1/n)/(n·alpha + 1) of each class's share (Dir(alpha·1))."""
    labels, clients, alpha = balanced(40, 2000), 10, 0.5
    shares = np.concatenate(
        [
            counts(labels, partition(labels, 40, clients, scheme="dirichlet", alpha=alpha, min_samples=0, seed=s), 40).T
            for s in range(30)
        ]
    ) / 2000  # fmt: skip
    assert shares.sum(axis=1) == pytest.approx(1)
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    assert shares.mean(axis=0) == pytest.approx(1 / clients, abs=5 * math.sqrt(variance / 1200))
    assert shares.var() == pytest.approx(variance, rel=0.1)


def test_dirichlet_extremes():
    labels = balanced()
    even = counts(labels, partition(labels, 10, 20, scheme="dirichlet", alpha=1e6, seed=0), 10)
    assert np.abs(even - 100).max() <= 2
    skewed = partition(labels, 10, 20, scheme="dirichlet", alpha=1e-4, min_samples=0, seed=0)
    assert (counts(labels, skewed, 10).max(axis=0) >= 1990).all()


def test_minimum_moves_no_more_than_needed():
    """Clients below the minimum end at it exactly, those above give; nothing else changes hands."""
    labels = balanced(10, 200)
    options = {"scheme": "dirichlet", "alpha": 0.05, "seed": 4}
    free = partition(labels, 10, 40, min_samples=0, **options)
    held = partition(labels, 10, 40, min_samples=20, **options)
    assert min(map(len, free)) < 20
    for before, after in zip(free, held, strict=True):
        b, a = set(before.tolist()), set(after.tolist())
        assert (len(b) < 20 and len(a) == 20 and b <= a) or (len(b) >= 20 and a <= b)


def test_degree_shares():
    """q of class l in group l, (1-q)/(C-1) in each other group; even within a group (FLTrust VI-A)."""
    labels, q, classes, clients = balanced(10, 5000), 0.4, 10, 30
    held = counts(labels, partition(labels, classes, clients, scheme="degree", degree=q, min_samples=0, seed=0), 10)
    groups = np.stack([held[g::classes].sum(axis=0) for g in range(classes)]) / 5000
    expected = np.full((10, 10), (1 - q) / 9)
    np.fill_diagonal(expected, q)
    assert groups == pytest.approx(expected, abs=5 * math.sqrt(q * (1 - q) / 5000))
    sizes = held.sum(axis=1)
    assert sizes == pytest.approx(np.full(30, 50000 / 30), abs=5 * math.sqrt(50000 / 30))


def test_degree_one_over_classes_is_iid_and_one_is_one_class_each():
    labels = balanced(10, 3000)
    even = counts(labels, partition(labels, 10, 10, scheme="degree", degree=0.1, seed=1), 10)
    assert even == pytest.approx(np.full((10, 10), 300), abs=5 * math.sqrt(300))
    pure = counts(labels, partition(labels, 10, 10, scheme="degree", degree=1.0, seed=1), 10)
    assert np.array_equal(pure, 3000 * np.eye(10, dtype=int))


def test_degree_with_groups_of_unequal_size():
    labels = balanced(10, 1000)
    held = counts(labels, partition(labels, 10, 13, scheme="degree", degree=1.0, min_samples=0, seed=1), 10)
    assert [int((held[:, c] > 0).sum()) for c in range(10)] == [2, 2, 2, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"min_samples": 11}, ["220", "200", "at most 10", "18 clients"]),
        ({"alpha": 0.0}, ["alpha is 0"]),
        ({"alpha": None}, ["alpha is None"]),
        ({"alpha": math.nan}, ["alpha is nan"]),
        ({"scheme": "degree", "degree": 1.5}, ["1.5", "0 to 1"]),
        ({"scheme": "degree", "degree": 0.5, "clients": 9}, ["9 clients", "10 classes"]),
        ({"scheme": "dirchlet"}, ["Did you mean 'dirichlet'"]),
        ({"clients": 0}, ["0 clients"]),
        ({"min_samples": -1}, ["-1"]),
    ],
)
def test_impossible_requests_say_why(change, words):
    options = {"clients": 20, "scheme": "dirichlet", "alpha": 0.5, "degree": None, "min_samples": 1, "seed": 0} | change
    with pytest.raises(UserError) as error:
        partition(balanced(10, 20), 10, **options)
    assert all(word in str(error.value) for word in words)
