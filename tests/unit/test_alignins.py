"""AlignIns against a slow reference in float64, parameter by parameter, its limits, and its effect."""

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, updates_of

from baselines.alignins import AlignIns, Config, kth_largest, mz_scores, principal_alignment
from clipfed_bench.core.errors import UserError


def sign(x):
    return int(x > 0) - int(x < 0)


def reference(deltas, params, config):
    """(TDA, MPSA, kept) of each client."""
    size = deltas.shape[1]
    principal = [sign(sum(sign(x) for x in deltas[:, j])) for j in range(size)]
    tda, mpsa = [], []
    for delta in deltas:
        tda.append((delta * params).sum() / np.sqrt((delta**2).sum() * (params**2).sum()))
        largest = sorted(range(size), key=lambda j: -abs(delta[j]))[: int(config.sparsity * size)]
        mpsa.append(sum(sign(delta[j]) == principal[j] for j in largest) / len(largest))
    kept = [True] * len(deltas)
    for values, bound in ((tda, config.lambda_c), (mpsa, config.lambda_s)):
        scores = np.abs(values - np.median(values)) / (np.std(values) or 1.0)  # equal values are no outliers
        kept = [k and s < bound for k, s in zip(kept, scores, strict=True)]
    return tda, mpsa, kept


@pytest.mark.parametrize("config", [Config(), Config(sparsity=0.1, lambda_s=2.0), Config(1.0, 1.5, 0.8)])
@pytest.mark.parametrize("count", [4, 9])
def test_equals_the_formulas(config, count):
    for seed in range(4):
        draw = np.random.default_rng([seed, count])
        deltas = (draw.normal(size=60) + draw.normal(size=(count, 60))) * draw.uniform(0.5, 2, (count, 1))
        deltas[draw.random(deltas.shape) < 0.05] = 0
        updates = updates_of(deltas, params=draw.normal(size=60), samples=draw.integers(1, 500, count))
        points = numpy(updates.deltas)
        _, mpsa, kept = reference(points, numpy(updates.global_params), config)
        assert principal_alignment(updates.deltas, config.sparsity).tolist() == pytest.approx(mpsa)
        result = AlignIns(config, SERVER).aggregate(updates, ROUND)
        assert result.kept.tolist() == kept
        norms = np.sqrt((points**2).sum(axis=1))
        bound = np.median(norms[kept]) if any(kept) else 0.0
        weights = updates.num_samples.numpy() * kept / max((updates.num_samples.numpy() * kept).sum(), 1)
        clipped = points * np.minimum(1, bound / norms)[:, None]
        np.testing.assert_allclose(result.delta, weights @ clipped, rtol=1e-4, atol=1e-6)
        expected = weights @ numpy(updates.buffers) if any(kept) else np.zeros(2)
        np.testing.assert_allclose(result.buffers, expected, rtol=1e-5)
        assert result.info == {"alignins_clip": pytest.approx(bound, rel=1e-5), "alignins_kept": sum(kept)}


@pytest.mark.parametrize("kind", ["turned", "signs"])
def test_attackers_are_left_out(kind):
    """Either their whole update points elsewhere, or the signs of their largest parameters are not the others'."""
    for seed in range(5):
        draw = np.random.default_rng(seed)
        params = draw.normal(size=1000)
        deltas = draw.normal(size=1000) + 0.3 * params + 0.5 * draw.normal(size=(10, 1000))
        if kind == "turned":
            deltas[:2] -= 0.7 * params
        else:
            large = np.argsort(-np.abs(deltas[0]))[:150]
            deltas[:2, large] *= -1
        result = AlignIns(Config(), SERVER).aggregate(updates_of(deltas, params=params), ROUND)
        assert not result.kept[:2].any()
        assert result.kept[2:].sum() >= 3


def test_large_updates_are_clipped_to_the_median_norm_of_the_kept():
    deltas = np.tile(np.random.default_rng(0).normal(size=50), (5, 1)) * [[1], [1], [2], [32], [1]]
    result = AlignIns(Config(), SERVER).aggregate(updates_of(deltas, params=np.ones(50)), ROUND)
    assert result.kept.all()  # of one direction
    np.testing.assert_allclose(result.delta, deltas[0], rtol=1e-5)


def test_the_model_stays_where_nobody_is_kept():
    deltas = np.eye(4, 8) * [[1], [1], [-1], [-1]]
    updates = updates_of(deltas, params=np.ones(8), global_buffers=[5.0, 6.0])
    result = AlignIns(Config(), SERVER).aggregate(updates, ROUND)
    assert not result.kept.any()
    assert not result.delta.any()
    assert result.buffers.tolist() == [5, 6]


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_clients_are_kept(count):
    updates = updates_of(np.random.default_rng(1).normal(size=(count, 9)), params=np.ones(9))
    assert AlignIns(Config(), SERVER).aggregate(updates, ROUND).kept.all()


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_equal_updates_are_all_kept(value):
    result = AlignIns(Config(), SERVER).aggregate(updates_of(np.full((6, 9), value), params=np.ones(9)), ROUND)
    assert result.kept.all()
    assert result.delta.tolist() == pytest.approx([value] * 9)


def test_mz_scores():
    assert mz_scores(torch.tensor([1.0, 2.0, 6.0]).double()).tolist() == pytest.approx(
        np.array([1, 0, 4]) / np.std([1, 2, 6])
    )
    assert mz_scores(torch.full((4,), 0.1).double()).tolist() == [0] * 4


def test_kth_largest():
    values = torch.tensor([3.0, 1.0, 2.0, 3.0])
    assert [kth_largest(values, k).item() for k in (1, 2, 3, 4)] == [3, 3, 2, 1]
    assert kth_largest(torch.zeros(5), 2) == 0
    drawn = torch.randn(3000, generator=torch.Generator().manual_seed(0)).abs() * 1e-3
    for k in (1, 2, 900, 2999, 3000):
        assert kth_largest(drawn, k) == drawn.sort(descending=True).values[k - 1]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(sparsity=0.0), "alignins: sparsity 0.0"),
        (Config(lambda_s=0.0), "alignins: lambda_s 0.0"),
        (Config(lambda_c=-1.0), "alignins: lambda_c -1.0"),
    ],
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        AlignIns(config, SERVER)
