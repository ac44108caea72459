"""FedCPA against the published code, and its similarities against a slow reference, pair by pair."""

import numpy as np
import pytest
import scipy.stats
import torch
from makers.updates import LAYERS, ROUND, SERVER, SHAPES, SIZE, numpy, random_deltas, updates_of
from torch._subclasses.fake_tensor import FakeTensorMode

from baselines import fedcpa
from clipfed_bench.api import RoundContext
from clipfed_bench.core.errors import UserError


def fedcpa_reference(deltas, params, before, share, with_biases=False):
    """α of the authors' code, with sets and scipy; ``before`` is the global model one round ago, or None."""
    weights = [n for n, shape in SHAPES.items() if len(shape) > 1 or with_biases]

    def importance(change, value):
        return np.concatenate([np.abs(change[LAYERS[n]] * value[LAYERS[n]]) for n in weights])

    def alike(a, b):
        count, parts = int(len(a) * share), []
        for sign in (1, -1):
            one, other = (set(np.argsort(sign * x, kind="stable")[-count:].tolist()) for x in (a, b))
            both = sorted(one & other)
            r = scipy.stats.pearsonr(a[both], b[both])[0] if len(both) > 1 else -1
            parts.append((r + 1) / 2 + len(both) / len(one | other))
        return sum(parts) / 2

    found = [importance(d, params + d) for d in deltas]
    scores = [np.mean([1 if i is j else alike(i, j) for j in found]) for i in found]
    if before is not None:
        own = importance(params - before, params)
        scores = [s + alike(i, own) for s, i in zip(scores, found, strict=True)]
    scaled = (np.array(scores) - min(scores)) / (max(scores) - min(scores))
    scaled = np.where(scaled == 0, 0.01, np.where(scaled == 1, 0.99, scaled))
    return np.clip(np.log(scaled / (1 - scaled)) + 0.5, 0, 1)


def test_fedcpa_equals_the_published_code_over_rounds():
    config = fedcpa.Config(share=0.1)
    defense = fedcpa.FedCPA(config, SERVER)
    draw = np.random.default_rng(3)
    params, before, told_apart = draw.normal(size=SIZE).astype(np.float32), None, 0
    for number in range(1, 5):
        updates = updates_of(random_deltas(number, 7, shared=1.5), params=params)
        deltas, now = numpy(updates.deltas), numpy(updates.global_params)
        result = defense.aggregate(updates, RoundContext(number, 0))
        alpha = fedcpa_reference(deltas, now, before, config.share)
        expected = alpha @ deltas / (alpha > 0).sum()
        np.testing.assert_allclose(numpy(result.delta), expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(result.buffers, alpha @ numpy(updates.buffers) / alpha.sum(), rtol=1e-4)
        assert result.kept.tolist() == (alpha > 0).tolist()
        mistakes = [fedcpa_reference(deltas, now, before, config.share, with_biases=True)]
        mistakes += [fedcpa_reference(deltas, now, None, config.share)] if number > 1 else []
        told_apart += all(np.abs(alpha - wrong).max() > 1e-2 for wrong in mistakes)
        before = now
        params += result.delta.numpy()
    assert told_apart >= 2


def test_fedcpa_keeps_a_copy_of_the_global_model():
    """The simulator moves the global model in place."""
    draw = np.random.default_rng(0)
    one, other = (fedcpa.FedCPA(fedcpa.Config(share=0.1), SERVER) for _ in range(2))
    params = torch.from_numpy(draw.normal(size=SIZE)).float()
    results = []
    for defense, copy in ((one, False), (other, True)):
        held = params.clone()
        first = updates_of(random_deltas(1), params=held)
        step = defense.aggregate(first, ROUND).delta
        held = held + step if copy else held.add_(step)
        results.append(defense.aggregate(updates_of(random_deltas(2), params=held), RoundContext(2, 0)).delta)
    assert torch.equal(*results)


def test_fedcpa_excludes_clients_whose_critical_parameters_differ():
    draw = np.random.default_rng(1)
    params = draw.normal(size=SIZE)
    scale = np.exp(2 * draw.normal(size=SIZE))  # which parameters a benign client moves
    benign = scale * (1 + 0.2 * draw.normal(size=(8, SIZE)))
    poisoned = draw.permutation(scale) * (1 + 0.2 * draw.normal(size=(2, SIZE)))
    updates = updates_of(0.01 * np.concatenate([benign, poisoned]), params=params)
    result = fedcpa.FedCPA(fedcpa.Config(share=0.05), SERVER).aggregate(updates, ROUND)
    assert result.kept.tolist() == [True] * 8 + [False] * 2


def test_fedcpa_score_weights():
    assert fedcpa.score_weights(torch.tensor([1.0, 1.0 + 1e-15, 1.0], dtype=torch.float64)).tolist() == [1, 1, 1]
    weights = fedcpa.score_weights(torch.tensor([0.0, 0.3, 0.5, 0.7, 1.0], dtype=torch.float64)).tolist()
    assert weights == pytest.approx([0, 0, 0.5, 1, 1])


def test_impossible_shares_say_what_is_right():
    for share in (0.0, 0.6):
        with pytest.raises(UserError, match=f"fedcpa: share {share}"):
            fedcpa.FedCPA(fedcpa.Config(share=share), SERVER)


# --- similarities ----------------------------------------------------------------------------------------------------


def similarity_reference(one, other):
    """Of two models, each ((indices, importances) of the top, the same of the bottom)."""
    total = 0.0
    for (index, values), (index_, values_) in zip(one, other, strict=True):
        common, here, there = np.intersect1d(index, index_, assume_unique=True, return_indices=True)
        total += len(common) / (len(index) + len(index_) - len(common))
        total += correlation_reference(values[here].astype(np.float64), values_[there].astype(np.float64))
    return total / 2


def correlation_reference(a, b):
    """(r + 1) / 2, or 0 where Pearson's r is undefined."""
    if len(a) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return ((a @ b) / scale).clip(-1, 1) / 2 + 0.5 if scale > 0 else 0.0


def check_similarities(index, values, size):
    """``index`` and ``values`` (M, 2, C)."""
    before = index.clone(), values.clone()
    found = fedcpa.similarities(index, values, size)
    models = [list(zip(i.numpy(), v.numpy(), strict=True)) for i, v in zip(index, values, strict=True)]
    expected = [[1.0 if a is b else similarity_reference(a, b) for b in models] for a in models]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-13)
    assert torch.equal(found, found.T)
    assert torch.equal(index, before[0])
    torch.testing.assert_close(values, before[1], rtol=0, atol=0, equal_nan=True)
    return found


def pick(draw, models, count, size, values):
    index = np.stack([[draw.permutation(size)[:count] for _ in range(2)] for _ in range(models)])
    return torch.from_numpy(index), torch.from_numpy(values(index.shape).astype(np.float32))


@pytest.mark.parametrize("models", [1, 2, 3, 10])
@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 5), (2, 3), (5, 9), (40, 60), (30, 2000)])
def test_similarities_are_those_of_the_pairs(models, count, size):
    draw = np.random.default_rng([models, count, size])
    kinds = [
        draw.exponential,
        lambda size: 1e30 * draw.exponential(size=size),  # squares overflow in float32
        lambda size: 1e-40 * draw.exponential(size=size),
        lambda size: 1 + 1e-6 * draw.random(size),  # nearly constant: sums of squares would cancel
        lambda size: draw.integers(0, 2, size),  # often constant on the common parameters
        lambda size: np.zeros(size),
        lambda size: np.where(draw.random(size) < 0.05, np.inf, draw.random(size)),
        lambda size: np.full(size, np.inf),
        lambda size: np.where(draw.random(size) < 0.05, np.nan, draw.random(size)),
    ]
    for kind in kinds:
        check_similarities(*pick(draw, models, count, size, lambda shape, kind=kind: kind(size=shape)), size)


def test_similarities_in_several_blocks():
    draw = np.random.default_rng(0)
    index, values = pick(draw, 4, 50_000, 70_000, lambda shape: draw.exponential(size=shape))
    check_similarities(index, values, 70_000)


def test_similarity_by_hand():
    index = torch.tensor([[[1, 2, 3], [8, 9, 7]], [[3, 2, 4], [0, 6, 8]]])
    values = torch.tensor([[[5.0, 6, 7], [0.1, 0.2, 0.3]], [[9.0, 8, 7], [0.5, 0.4, 0.2]]])
    # Top: {2, 3} of {1, 2, 3, 4} in the same order, 1 + 1/2. Bottom: one of five in common, r undefined, 0 + 1/5.
    assert check_similarities(index, values, 10)[0, 1].item() == pytest.approx((1.5 + 0.2) / 2)
    # All the same: r = 1 and J = 1.
    assert check_similarities(index[[0, 0]], values[[0, 0]], 10)[0, 1].item() == pytest.approx(2)
    # Infinite values, and constant ones: J alone.
    odd = torch.stack([values[0, 0], torch.full((3,), 0.2)])
    odd[0, 1] = torch.inf
    assert check_similarities(index[[0, 0]], torch.stack([odd, values[0]]), 10)[0, 1].item() == 1


# --- critical parameters ---------------------------------------------------------------------------------------------


def critical_reference(values, count):
    """Top and bottom by stable sorting: of equal values the first."""
    return [np.sort(np.argsort(sign * values, kind="stable")[:count]) for sign in (-1, 1)]


@pytest.mark.parametrize("size", [1, 2, 3, 10, 61, 5000, 100_000])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_critical_parameters_are_the_first_and_the_last_of_all(size, share):
    draw, count = np.random.default_rng(size), max(int(size * share), 1)
    kinds = {
        "usual": draw.exponential(size=size) ** 3,
        "ties": draw.integers(0, 5, size),
        "zeros": np.where(draw.random(size) < 0.4, 0, draw.random(size)),
        "constant": np.ones(size),
        "sorted": np.arange(size),
        "infinite": np.where(draw.random(size) < 0.3, np.inf, draw.random(size)),
        "sample below all others": np.where(np.arange(size) % 61 == 0, 0.1, 1) * draw.random(size),
        "sample above all others": np.where(np.arange(size) % 61 == 0, 10, 1) * draw.random(size),
    }
    for name, kind in kinds.items():
        values = kind.astype(np.float32)
        index, found = fedcpa.critical(torch.from_numpy(values.copy()), count)
        np.testing.assert_array_equal(index.numpy(), critical_reference(values, count), err_msg=name)
        np.testing.assert_array_equal(found.numpy(), values[index.numpy()], err_msg=name)
        _, others = fedcpa.by_topk(torch.from_numpy(values), count)  # what a GPU does, but for ties
        np.testing.assert_array_equal(others.sort(dim=1).values, found.sort(dim=1).values, err_msg=name)


def test_critical_parameters_of_a_diverged_model_are_some():
    for values in (np.full(5000, np.nan), np.where(np.arange(5000) % 3 > 0, np.nan, 1.0)):
        index, _ = fedcpa.critical(torch.from_numpy(values.astype(np.float32)), 2500)
        assert index.shape == (2, 2500)
        assert all(len(set(row.tolist())) == 2500 for row in index)


def test_nothing_of_it_waits_for_a_gpu():
    """Fake tensors know devices and shapes only: reading a value, or a shape that depends on one, is an error."""
    with FakeTensorMode():
        params, deltas = torch.zeros(SIZE, device="cuda"), torch.zeros(4, SIZE, device="cuda")
        weights = fedcpa.FedCPA(fedcpa.Config(), SERVER)._weights()
        found = [fedcpa.critical(fedcpa.importance(row, params + row, weights), 5) for row in deltas]
        index, values = (torch.stack(parts) for parts in zip(*found, strict=True))
        size = sum(part.stop - part.start for part in weights)
        alpha = fedcpa.score_weights(fedcpa.similarities(index, values, size).mean(dim=1))
        assert alpha.device.type == "cuda"
        assert alpha.shape == (4,)
