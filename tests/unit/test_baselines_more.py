"""FoolsGold, RLR and FreqFed against slow float64 references written from their sources, and their effect."""

import math

import numpy as np
import pytest
import scipy.fft
import torch
from makers.updates import CLASSES, FEATURES, LAYERS, ROUND, SERVER, SHAPES, SIZE, numpy, random_deltas, updates_of
from torch._subclasses.fake_tensor import FakeTensorMode

from baselines import flame, foolsgold, freqfed, rlr
from clipfed_bench.api import RoundContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.dct import dct1


def check_weighted(result, updates, weights):
    """The weighted mean of updates and buffers, with weights that were computed elsewhere."""
    share = np.asarray(weights) / np.sum(weights)
    np.testing.assert_allclose(numpy(result.delta), share @ numpy(updates.deltas), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numpy(result.buffers), share @ numpy(updates.buffers), rtol=1e-5)
    assert result.kept.tolist() == [w > 0 for w in weights]


# --- FoolsGold -------------------------------------------------------------------------------------------------------


def foolsgold_reference(histories, kappa=1.0, pardon=True):
    """Algorithm 1 of Fung et al., entry by entry, with the authors' reading of it (similarities from 0, 0.99 for 1)."""
    count = len(histories)
    cs = [[0.0] * count for _ in range(count)]
    for i, a in enumerate(histories):
        for j, b in enumerate(histories):
            if i != j:
                cs[i][j] = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
    v = [max(row) for row in cs]
    for i in range(count):
        for j in range(count):
            if pardon and i != j and v[j] > v[i]:
                cs[i][j] *= v[i] / v[j]
    alpha = [min(max(1 - max(row), 0.0), 1.0) for row in cs]
    alpha = [a / max(alpha) for a in alpha]
    alpha = [0.99 if a == 1 else a for a in alpha]
    logits = [kappa * (math.log(a / (1 - a)) + 0.5) if a > 0 else -math.inf for a in alpha]
    return [min(max(w, 0.0), 1.0) for w in logits]


@pytest.mark.parametrize("features", ["classifier", "all"])
@pytest.mark.parametrize("kappa", [1.0, 0.5])
def test_foolsgold_equals_algorithm_1_over_rounds_of_changing_clients(features, kappa):
    defense = foolsgold.FoolsGold(foolsgold.Config(features, kappa), SERVER)
    history, partial = {}, 0
    for number in range(1, 5):
        draw = np.random.default_rng(number)
        clients = draw.permutation(10)[:6].tolist()
        alike = np.array(clients)[:, None] / 5 * np.random.default_rng(99).normal(size=SIZE)  # the higher the id
        updates = updates_of(draw.normal(size=(6, SIZE)) + alike, clients)
        result = defense.aggregate(updates, RoundContext(number, 0))
        place = slice(None)
        if features == "classifier":
            place = slice(LAYERS["classifier.weight"].start, LAYERS["classifier.bias"].stop)
        for client, row in zip(clients, numpy(updates.deltas)[:, place], strict=True):
            history[client] = history.get(client, 0) + row
        weights = foolsgold_reference([history[c] for c in clients], kappa)
        partial += sum(0 < w < 1 for w in weights)
        check_weighted(result, updates, weights)
        assert result.info["foolsgold_weight"] == pytest.approx(np.mean(weights), abs=1e-5)
        if number == 4:  # the history matters
            assert not np.allclose(weights, foolsgold_reference(numpy(updates.deltas)[:, place], kappa), atol=1e-2)
    assert partial  # the logit was looked at where it is neither 0 nor 1


def test_foolsgold_history_belongs_to_the_instance():
    first, second = (foolsgold.FoolsGold(foolsgold.Config(), SERVER) for _ in range(2))
    first.aggregate(updates_of(random_deltas(1)), ROUND)
    updates = updates_of(random_deltas(2))
    fresh = foolsgold.FoolsGold(foolsgold.Config(), SERVER).aggregate(updates, ROUND)
    assert torch.equal(second.aggregate(updates, ROUND).delta, fresh.delta)
    assert not torch.equal(first.aggregate(updates, ROUND).delta, fresh.delta)


def test_foolsgold_removes_sybils_and_pardons_the_honest():
    draw = np.random.default_rng(0)
    sybil, honest = draw.normal(size=SIZE), draw.normal(size=(6, SIZE))
    honest[0] += 1.2 * sybil  # an honest client that looks a little like the sybils
    deltas = np.concatenate([honest, sybil + 0.05 * draw.normal(size=(3, SIZE))])
    result = foolsgold.FoolsGold(foolsgold.Config(), SERVER).aggregate(updates_of(deltas), ROUND)
    assert result.kept.tolist() == [True] * 6 + [False] * 3
    histories = deltas[:, LAYERS["classifier.weight"].start :]
    assert foolsgold_reference(histories, pardon=False)[0] == 0
    assert foolsgold_reference(histories)[0] > 0.2


def test_foolsgold_weights_of_clients_that_are_equally_alike():
    assert foolsgold.foolsgold_weights(torch.ones(4, 4)).tolist() == [1, 1, 1, 1]
    assert foolsgold.foolsgold_weights(torch.full((3, 3), 0.999999)).tolist() == [1, 1, 1]
    assert foolsgold.foolsgold_weights(-torch.ones(2, 2)).tolist() == [1, 1]


def test_foolsgold_weights_where_every_client_has_a_twin():
    pairs = torch.block_diag(*[torch.ones(2, 2)] * 3)
    assert foolsgold.foolsgold_weights(pairs).tolist() == [1] * 6
    assert foolsgold.foolsgold_weights(pairs[:5, :5]).tolist() == [0] * 4 + [1]


# --- RLR -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0, 1, 3, 4, 7, 50, None])
def test_rlr_equals_algorithm_1(threshold):
    draw = np.random.default_rng(5)
    deltas = draw.normal(size=(7, 60)) + draw.normal(size=60)
    deltas[draw.random(deltas.shape) < 0.2] = 0  # which votes for neither
    updates = updates_of(deltas, samples=draw.integers(1, 500, 7))
    result = rlr.RLR(rlr.Config(threshold), SERVER).aggregate(updates, ROUND)
    needed = min(3 if threshold is None else threshold, 7)  # 20 % of 7 clients are 2, and one more
    sizes, points, reversed_ = updates.num_samples.tolist(), numpy(updates.deltas), 0
    for j in range(60):
        votes = sum((x > 0) - (x < 0) for x in points[:, j].tolist())
        mean = sum(n * x for n, x in zip(sizes, points[:, j], strict=True)) / sum(sizes)
        reversed_ += abs(votes) < needed
        assert float(result.delta[j]) == pytest.approx(mean if abs(votes) >= needed else -mean, rel=1e-4, abs=1e-6)
    assert result.info == {"rlr_threshold": needed, "rlr_reversed": pytest.approx(reversed_ / 60)}
    np.testing.assert_allclose(
        result.buffers, np.array(sizes) / sum(sizes) @ numpy(updates.buffers), rtol=1e-6
    )  # never reversed
    assert result.kept is None


def test_rlr_reverses_what_attackers_alone_want():
    """Coordinate 0: all agree. Coordinate 1: the honest are split, and two attackers push hard."""
    deltas = [[1.0, -0.1]] * 4 + [[1.0, 0.1]] * 4 + [[1.0, 9.0]] * 2
    result = rlr.RLR(rlr.Config(), SERVER).aggregate(updates_of(deltas), ROUND)
    assert result.delta.tolist() == pytest.approx([1.0, -1.8])
    alone = rlr.RLR(rlr.Config(), SERVER).aggregate(updates_of(deltas[-1:]), ROUND)
    assert alone.delta.tolist() == [1, 9]  # unanimous


# --- FreqFed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 8, 27, 1000])
def test_dct1_is_the_orthonormal_dct(size):
    x = np.random.default_rng(size).normal(size=(4, 3, size))
    np.testing.assert_allclose(dct1(torch.from_numpy(x)), scipy.fft.dct(x, norm="ortho"), atol=1e-12)
    assert dct1(torch.from_numpy(x).float()).dtype == torch.float32


def freqfed_reference(delta, low):
    parts = []
    for name, shape in SHAPES.items():
        matrix = delta[LAYERS[name]].reshape(shape[0] if len(shape) > 1 else 1, -1)
        rows, cols = matrix.shape
        last = int(low * (cols if rows == 1 else min(rows, cols)))
        found = scipy.fft.dctn(matrix, norm="ortho")
        parts += [found[u, v] for u in range(rows) for v in range(cols) if u + v <= last]
    return np.array(parts)


@pytest.mark.parametrize("low", [0.5, 0.2, 1.0, 1.5, 1000.0])
def test_freqfed_spectra_equal_scipy(low, monkeypatch):
    deltas = random_deltas(1, 5)
    expected = [freqfed_reference(delta / np.abs(delta).max(), low) for delta in deltas]
    defense, given = freqfed.FreqFed(freqfed.Config(low), SERVER), torch.from_numpy(deltas).float()
    found = defense._spectra(given)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (found.shape[1] == SIZE) == (low == 1000)
    # Clients and layers that are transformed together do not see each other.
    assert torch.equal(found[1:2], defense._spectra(given[1:2]))
    monkeypatch.setattr(freqfed, "_blocks", lambda rows, entries, device: (slice(i, i + 2) for i in range(0, rows, 2)))
    assert torch.equal(found, defense._spectra(given))


def test_freqfed_transforms_without_waiting_for_a_gpu():
    caches = freqfed._corner, dct1.__globals__["_twiddles"]
    for cache in caches:
        cache.cache_clear()
    with FakeTensorMode():  # which knows no values: reading one, or a shape that depends on one, is an error
        deltas = torch.zeros(4, SIZE, device="cuda")
        found = freqfed.FreqFed(freqfed.Config(), SERVER)._spectra(deltas)
    for cache in caches:
        cache.cache_clear()
    assert found.device.type == "cuda"
    assert len(found) == 4


@pytest.mark.parametrize("size", [1, 2, 3, 8, 27])
def test_the_lowest_coefficients_of_dct1_are_those_of_all(size):
    x = torch.from_numpy(np.random.default_rng(size).normal(size=(5, size))).float()
    for keep in range(1, size + 2):
        assert torch.equal(dct1(x, keep), dct1(x)[:, :keep])


def test_freqfed_with_all_frequencies_selects_as_flame_does():
    """An orthonormal transform keeps every cosine."""
    for seed in range(5):
        updates = updates_of(random_deltas(seed, 9))
        everything = freqfed.FreqFed(freqfed.Config(low=1000.0), SERVER).aggregate(updates, ROUND)
        plain = flame.Flame(flame.Config(noise=0.0, clip=False), SERVER).aggregate(updates, ROUND)
        assert torch.equal(everything.kept, plain.kept)
        torch.testing.assert_close(everything.delta, plain.delta, rtol=1e-4, atol=1e-5)


def smooth(draw):
    """An update whose every layer has low frequencies only."""
    parts = []
    for shape in SHAPES.values():
        matrix = np.zeros((shape[0] if len(shape) > 1 else 1, math.prod(shape[1:]) if len(shape) > 1 else shape[0]))
        matrix[:2, :3] = draw.normal(size=matrix[:2, :3].shape)
        parts.append(scipy.fft.idctn(matrix, norm="ortho").ravel())
    return np.concatenate(parts)


def test_freqfed_excludes_other_low_frequencies_and_ignores_high_ones():
    draw = np.random.default_rng(2)
    common = smooth(draw)
    noise = draw.normal(size=(8, SIZE)) * np.array([0.02] * 7 + [0.0])[:, None]
    high = np.zeros((CLASSES, FEATURES))
    high[-1, -1] = 3 * np.linalg.norm(common)
    benign = common + noise
    benign[7, LAYERS["classifier.weight"]] += scipy.fft.idctn(high, norm="ortho").ravel()  # the largest part of it
    deltas = np.concatenate([benign, np.tile(smooth(draw), (2, 1))])
    config = freqfed.Config()
    spectra = torch.from_numpy(np.array([freqfed_reference(d, config.low) for d in deltas]))
    kept = freqfed.FreqFed(config, SERVER).aggregate(updates_of(deltas), ROUND).kept
    assert not kept[8:].any()
    assert kept[7]
    assert torch.cosine_similarity(spectra[7], spectra[0], dim=0) > 0.9
    assert not freqfed.FreqFed(freqfed.Config(low=1000.0), SERVER).aggregate(updates_of(deltas), ROUND).kept[7]


@pytest.mark.parametrize(("length", "kept"), [(1, 1), (2, 2), (3, 2), (10, 6), (64, 33)])
def test_freqfed_keeps_about_half_of_a_vector(length, kept):
    vectors = torch.randn(2, 1, length, dtype=torch.float64)
    expected = scipy.fft.dct(vectors.numpy(), norm="ortho")[:, 0, :kept]
    np.testing.assert_allclose(freqfed.low_frequencies(vectors, 0.5), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: foolsgold.FoolsGold(foolsgold.Config(kappa=0.0), SERVER), "foolsgold: kappa 0.0"),
        (lambda: rlr.RLR(rlr.Config(threshold=-1), SERVER), "rlr: threshold -1"),
        (lambda: freqfed.FreqFed(freqfed.Config(low=0.0), SERVER), "freqfed: low 0.0"),
    ],
)
def test_impossible_options_say_what_is_right(make, text):
    with pytest.raises(UserError, match=text):
        make()
