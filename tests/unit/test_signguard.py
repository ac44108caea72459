"""SignGuard against a slow reference, with scikit-learn's mean shift, and its effect."""

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, updates_of
from sklearn.cluster import MeanShift, estimate_bandwidth

from baselines.signguard import Config, SignGuard, sign_shares
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.mean_shift import bandwidth_of, mean_shift
from clipfed_bench.toolbox.rng import generator


def sklearn_labels(points, bandwidth):
    return MeanShift(bandwidth=bandwidth, cluster_all=False).fit_predict(points)


def signed(seed, shares, size=400):
    """Updates of which the given shares of coordinates are positive; a twentieth is zero."""
    draw = np.random.default_rng(seed)
    signs = np.where(draw.random((len(shares), size)) < np.array(shares)[:, None], 1.0, -1.0)
    signs[draw.random(signs.shape) < 0.05] = 0
    return signs * draw.uniform(0.5, 1.5, signs.shape) * draw.uniform(0.7, 1.6, (len(shares), 1))


def reference(points, config, first):
    """Xu et al., Algorithm 2: norms from L M to R M, the largest cluster of signs, clipping to M, plain mean."""
    norms = np.array([np.sqrt((p**2).sum()) for p in points])
    bound = np.median(norms)
    some = points[:, first :: round(1 / config.share)]
    shares = np.array([[(row > 0).mean(), (row == 0).mean(), (row < 0).mean()] for row in some])
    features = shares / shares.max(axis=0)
    labels = sklearn_labels(features, estimate_bandwidth(features, quantile=0.5))
    alike = labels == np.bincount(labels[labels >= 0]).argmax()
    usual = (norms / bound >= config.low) & (norms / bound <= config.high)
    kept = next(passed for passed in (usual & alike, usual, alike) if passed.any())
    clipped = [p * min(1, bound / n) for p, n, k in zip(points, norms, kept, strict=True) if k]
    return kept, usual, alike, sum(clipped) / len(clipped)


@pytest.mark.parametrize("config", [Config(), Config(share=1.0), Config(low=0.95, high=1.05, share=0.5)])
@pytest.mark.parametrize("count", [4, 9, 10])
def test_signguard_equals_the_paper(count, config):
    updates = updates_of(signed(count, [0.5] * (count - 2) + [0.8, 0.2]))
    stream = generator(ROUND.seed, "signguard", ROUND.round)
    first = int(torch.randint(round(1 / config.share), (), generator=stream))
    kept, usual, alike, delta = reference(numpy(updates.deltas), config, first)
    result = SignGuard(config, SERVER).aggregate(updates, ROUND)
    assert result.kept.tolist() == kept.tolist()
    assert not kept.all()
    np.testing.assert_allclose(numpy(result.delta), delta, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(numpy(result.buffers), numpy(updates.buffers)[kept].mean(axis=0), rtol=1e-6)
    assert result.info == {"signguard_norm": usual.sum(), "signguard_sign": alike.sum()}


def test_mean_shift_equals_scikit_learn():
    for seed in range(3):
        draw = np.random.default_rng(seed)
        centers = draw.uniform(size=(3, 3))
        points = centers[draw.integers(0, len(centers), 10)]
        points = points + 0.1 * draw.normal(size=points.shape)
        bandwidth = estimate_bandwidth(points, quantile=0.5)
        assert bandwidth_of(points, 0.5) == pytest.approx(bandwidth)
        for width in (bandwidth, 0.3 * bandwidth):
            expected = sklearn_labels(points, width)
            assert partition(mean_shift(points, width)) == partition(expected), (seed, width)


def partition(labels):
    """Which points are together, and which in no cluster, whatever the clusters are called."""
    groups = [frozenset(np.flatnonzero(labels == label)) for label in set(labels.tolist()) - {-1}]
    return {frozenset(np.flatnonzero(labels == -1)), *groups}


def test_mean_shift_of_few_and_of_equal_points():
    one = np.array([[0.1, 0.7, 0.2]])
    assert mean_shift(one, bandwidth_of(one, 0.5)).tolist() == [0]
    two = np.array([[0.0], [1.0]])
    assert mean_shift(two, bandwidth_of(two, 0.5)).tolist() == [0, 0]  # nobody outvotes the other
    equal = np.full((7, 3), 0.1)
    assert mean_shift(equal, bandwidth_of(equal, 0.5)).tolist() == [0] * 7
    mostly = np.array([[0.1]] * 5 + [[0.9]])
    assert mean_shift(mostly, 0.0).tolist() == [0] * 5 + [1]


def test_mean_shift_does_not_depend_on_the_order():
    for seed in range(20):
        draw = np.random.default_rng(seed)
        points = draw.integers(0, 4, (9, 3)) / 3.0  # many ties
        order = draw.permutation(9)
        width = bandwidth_of(points, 0.5)
        assert mean_shift(points[order], width).tolist() == mean_shift(points, width)[order].tolist()


def test_sign_shares_are_exact_over_blocks():
    matrix = torch.from_numpy(np.random.default_rng(0).integers(-1, 2, (3, 200_001))).float()
    expected = torch.stack([(matrix > 0).sum(1), (matrix == 0).sum(1), (matrix < 0).sum(1)], dim=1) / 200_001.0
    torch.testing.assert_close(sign_shares(matrix).float(), expected)
    assert not sign_shares(torch.ones(2, 7))[:, 1:].any()


def test_signguard_drops_odd_signs_and_odd_norms_and_clips_the_rest():
    deltas = signed(1, [0.6] * 10, size=4000)
    deltas[0] *= -1  # opposite signs
    deltas[1] *= 50
    deltas[2] *= 0.01
    result = SignGuard(Config(), SERVER).aggregate(updates_of(deltas), ROUND)
    assert result.kept.tolist() == [False] * 3 + [True] * 7
    assert np.linalg.norm(numpy(result.delta)) <= np.median(np.linalg.norm(deltas, axis=1))


def test_where_nobody_passes_both_filters_one_of_them_decides():
    """Three clients of one mix of signs, and as many norms of which the median is between two or is another's."""
    signs = np.array([[1.0] * 8 + [-1] * 8] * 3 + [[1.0] * 16, [-1.0] * 16])
    narrow = Config(low=1.0, high=1.0, share=1.0)
    of_another = signs * np.array([[1], [2], [5], [3], [4]])
    assert SignGuard(narrow, SERVER).aggregate(updates_of(of_another), ROUND).kept.tolist() == [0, 0, 0, 1, 0]
    between = of_another[:4]
    assert SignGuard(narrow, SERVER).aggregate(updates_of(between), ROUND).kept.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(low=1.5), r"signguard: low 1\.5"),
        (Config(high=0.5), r"signguard: high 0\.5"),
        (Config(share=0.0), r"signguard: share 0\.0"),
    ],
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        SignGuard(config, SERVER)
