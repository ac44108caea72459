"""Each baseline against a slow float64 reference written from its paper, its effect, and the bugs public code has."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from makers.updates import SERVER, numpy, updates_of

from baselines import fedavg, flame, krum, median, multi_krum, trimmed_mean
from clipfed_bench.api import RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.rng import generator

ROUND = RoundContext(round=3, seed=11)


def random_updates(seed, count=10, size=40):
    draw = np.random.default_rng(seed)
    deltas = draw.normal(size=(count, size)) + draw.normal(size=size)
    buffers, samples = draw.normal(size=(count, 3)), draw.integers(1, 500, count)
    return updates_of(deltas, draw.permutation(100)[:count].tolist(), samples=samples, buffers=buffers)


def attacked_updates(seed=5, scale=10.0):
    """Eight benign updates around one direction, and two of ten times their size pointing back."""
    draw = np.random.default_rng(seed)
    direction = draw.normal(size=200)
    benign = direction + 0.5 * draw.normal(size=(8, 200))
    return updates_of(np.concatenate([benign[:3], -scale * benign[:2], benign[3:]])), benign.mean(axis=0)


# --- Krum and Multi-Krum ---------------------------------------------------------------------------------------------


def krum_reference(points, neighbors, power=2):
    """Blanchard et al., section 4: s(i) = sum over the nearest ``neighbors`` others j of ‖V_i - V_j‖²."""
    scores = []
    for i, a in enumerate(points):
        others = sorted(math.sqrt(((a - b) ** 2).sum()) for j, b in enumerate(points) if j != i)
        scores.append(sum(d**power for d in others[:neighbors]))
    return scores


HAND = np.array([[0.0], [1], [2], [3], [7], [23], [23]])  # n = 7; with f = 1 the four nearest count


def test_krum_on_a_hand_made_example():
    updates = updates_of(HAND)
    result = krum.Krum(krum.Config(malicious=1 / 7), SERVER).aggregate(updates, ROUND)
    assert krum.krum_scores(torch.from_numpy((HAND - HAND.T) ** 2), 1).tolist() == [63, 42, 31, 30, 126, 1097, 1097]
    assert result.kept.tolist() == [False] * 3 + [True] + [False] * 3
    assert result.delta.tolist() == [3]
    assert result.buffers.tolist() == [6, 7]
    assert result.info == {"krum_malicious": 1, "krum_guarantee": 1}
    # The example tells the usual mistakes apart: n - f - 1 neighbors (or f = 0), unsquared distances, itself included.
    assert np.argmin(krum_reference(HAND, 4)) == 3
    assert np.argmin(krum_reference(HAND, 5)) == 4
    assert np.argmin(krum_reference(HAND, 4, power=1)) == 2
    assert np.argmin(krum_reference(HAND, 3)) != 3


@pytest.mark.parametrize("count", [4, 5, 7, 10, 13])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3])
def test_krum_and_multi_krum_equal_the_paper(count, share):
    for seed in range(5):
        updates = random_updates(seed, count)
        malicious = next(f for f in range(count) if f >= round(share * count, 9))
        points = numpy(updates.deltas)
        scores = np.round(krum_reference(points, max(count - malicious - 2, 1)), 9)
        best = np.lexsort((updates.clients, scores))  # with one neighbor the nearest pair ties
        one = krum.Krum(krum.Config(malicious=share), SERVER).aggregate(updates, ROUND)
        np.testing.assert_allclose(numpy(one.delta), points[best[0]], rtol=1e-6)
        np.testing.assert_array_equal(one.buffers, updates.buffers[best[0]])
        many = multi_krum.MultiKrum(multi_krum.Config(malicious=share), SERVER).aggregate(updates, ROUND)
        chosen = best[: count - malicious]
        assert many.kept.nonzero().flatten().tolist() == sorted(chosen)
        np.testing.assert_allclose(numpy(many.delta), points[chosen].mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(many.buffers, updates.buffers[chosen].mean(dim=0), rtol=1e-5, atol=1e-6)
        assert one.info["krum_guarantee"] == float(2 * malicious + 2 < count)


def test_krum_ties_go_to_the_lowest_client_id():
    deltas = [[0.0, 0.1], [0.1, 0.0], [0.0, -0.1], [-0.1, 0.0], [7.0, 0.3]]
    for clients in ((9, 4, 6, 5, 1), (4, 9, 6, 5, 1), (6, 5, 4, 9, 1)):
        kept = krum.Krum(krum.Config(), SERVER).aggregate(updates_of(deltas, clients=clients), ROUND).kept
        assert kept.nonzero().flatten().tolist() == [clients.index(4)]
    many = multi_krum.MultiKrum(multi_krum.Config(malicious=0.4), SERVER)
    kept = many.aggregate(updates_of(deltas, clients=(9, 4, 6, 5, 1)), ROUND).kept  # the outlier has the lowest id
    assert kept.tolist() == [False, True, True, True, False]


def test_krum_scores_that_are_equal_but_for_rounding_are_ties():
    """Each update is the one before, rotated: all scores are equal on paper, and not in their last bits."""
    draw = np.random.default_rng(1)
    vector = torch.from_numpy(draw.normal(size=9)).float()
    deltas = torch.stack([vector.roll(i) for i in range(9)]).repeat(1, 7)
    for _ in range(10):
        clients = draw.permutation(9).tolist()
        kept = krum.Krum(krum.Config(), SERVER).aggregate(updates_of(deltas, clients=clients), ROUND).kept
        assert kept.nonzero().flatten().tolist() == [clients.index(0)]


@pytest.mark.parametrize(("share", "count", "expected"), [(0.2, 10, 2), (0.2, 7, 2), (0.14, 50, 7), (0.0, 9, 0)])
def test_assumed_malicious_clients_are_rounded_up(share, count, expected):
    assert krum.malicious_count(share, count) == expected


def test_krum_takes_the_share_that_the_server_expects():
    server = ServerContext(10, SERVER.classes, SERVER.mean, SERVER.std, assumed_malicious=0.4)
    result = multi_krum.MultiKrum(multi_krum.Config(), server).aggregate(random_updates(0), ROUND)
    assert result.kept.sum() == 6
    assert result.info == {"krum_malicious": 4, "krum_guarantee": 0}


# --- FLAME -----------------------------------------------------------------------------------------------------------


def flame_reference(points, kept, clip=True, over_kept=False, lower=False):
    """Algorithm 1, lines 8 to 13, given the admitted clients; the options are mistakes that public code makes."""
    norms = [math.sqrt((p**2).sum()) for p in points]
    pool = sorted(n for n, k in zip(norms, kept, strict=True) if k or not over_kept)
    bound = pool[(len(pool) - 1) // 2] if lower else (pool[(len(pool) - 1) // 2] + pool[len(pool) // 2]) / 2
    clipped = [p * min(1, bound / n) if clip else p for p, n, k in zip(points, norms, kept, strict=True) if k]
    return sum(clipped) / len(clipped), bound


def cosine_majority(points):
    """Clients in the first single-linkage component of more than half, by cosine distance."""
    unit = [p / math.sqrt((p**2).sum()) for p in points]
    count = len(points)
    edges = sorted((1 - (unit[i] * unit[j]).sum(), i, j) for i in range(count) for j in range(i))
    component = list(range(count))
    for _, i, j in edges:
        component = [component[i] if c == component[j] else c for c in component]
        if component.count(component[i]) > count / 2:
            return [c == component[i] for c in component]
    raise AssertionError


@pytest.mark.parametrize("count", [3, 6, 9, 10])
def test_flame_equals_algorithm_1(count):
    for seed in range(6):
        updates = random_updates(seed, count)
        points = numpy(updates.deltas)
        kept = cosine_majority(points)
        expected, bound = flame_reference(points, kept)
        quiet = flame.Flame(flame.Config(noise=0.0), SERVER).aggregate(updates, ROUND)
        assert quiet.kept.tolist() == kept
        np.testing.assert_allclose(numpy(quiet.delta), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(quiet.buffers, updates.buffers[torch.tensor(kept)].mean(dim=0), rtol=1e-5, atol=1e-6)
        assert quiet.info == {"flame_clip": pytest.approx(bound), "flame_kept": sum(kept), "flame_sigma": 0}


def test_flame_examples_tell_its_usual_mistakes_apart():
    points = numpy(random_updates(2, 10).deltas) * np.random.default_rng(2).uniform(0.3, 3, 10)[:, None]
    kept = cosine_majority(points)
    assert sum(kept) == 8
    right, _ = flame_reference(points, kept)
    result = flame.Flame(flame.Config(noise=0.0), SERVER).aggregate(updates_of(points), ROUND)
    np.testing.assert_allclose(numpy(result.delta), right, rtol=1e-5, atol=1e-6)
    for mistake in ({"clip": False}, {"over_kept": True}, {"lower": True}):
        wrong, _ = flame_reference(points, kept, **mistake)
        assert np.abs(wrong - right).max() > 1e-2, mistake
    unclipped = flame.Flame(flame.Config(noise=0.0, clip=False), SERVER).aggregate(updates_of(points), ROUND)
    np.testing.assert_allclose(
        numpy(unclipped.delta), flame_reference(points, kept, clip=False)[0], rtol=1e-5, atol=1e-6
    )


def test_flame_noise_is_gaussian_of_lambda_times_the_median_norm_on_parameters_only():
    updates = random_updates(4, 10, size=50_000)
    quiet = flame.Flame(flame.Config(noise=0.0), SERVER).aggregate(updates, ROUND)
    noisy = flame.Flame(flame.Config(noise=0.02), SERVER).aggregate(updates, ROUND)
    sigma = 0.02 * np.median([math.sqrt((p**2).sum()) for p in numpy(updates.deltas)])
    noise = noisy.delta - quiet.delta
    assert noisy.info["flame_sigma"] == pytest.approx(sigma)
    assert noise.std().item() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean().item()) < 0.02 * sigma
    drawn = torch.randn(50_000, generator=generator(ROUND.seed, "flame-noise", ROUND.round))
    assert torch.equal(noisy.delta, quiet.delta + noisy.info["flame_sigma"] * drawn)
    assert torch.equal(noisy.buffers, quiet.buffers)
    other = flame.Flame(flame.Config(noise=0.02), SERVER).aggregate(updates, RoundContext(4, ROUND.seed))
    assert not torch.equal(other.delta, noisy.delta)


def test_flame_defaults_are_the_papers():
    assert flame.Config() == flame.Config(noise=0.001, clip=True)


def test_flame_with_updates_of_norm_zero():
    deltas = [[1.0, 0.0], [2.0, 0.1], [0.0, 0.0], [1.0, 0.1]]
    result = flame.Flame(flame.Config(noise=0.0), SERVER).aggregate(updates_of(deltas), ROUND)
    assert result.kept.tolist() == [True, True, False, True]  # no direction: as far away as a right angle
    mostly_zero = flame.Flame(flame.Config(), SERVER).aggregate(updates_of([[0.0, 0.0]] * 3 + [[5.0, 1.0]]), ROUND)
    assert mostly_zero.kept.tolist() == [True] * 3 + [False]
    assert mostly_zero.delta.tolist() == [0, 0]
    assert mostly_zero.info["flame_sigma"] == 0


# --- coordinate-wise rules and FedAvg --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 10])
def test_median_and_trimmed_mean_equal_yin_et_al(count):
    updates = random_updates(count, count)
    for beta, trim in ((0.0, 0), (0.2, None), (0.3, None)):
        if trim is None:  # int(beta * n), at least one from three clients on
            trim = max(int(beta * count), 1) if count >= 3 else 0
        rule = trimmed_mean.TrimmedMean(trimmed_mean.Config(beta=beta), SERVER)
        result = rule.aggregate(updates, ROUND)
        for got, given in ((result.delta, updates.deltas), (result.buffers, updates.buffers)):
            expected = [sum(sorted(c)[trim : count - trim]) / (count - 2 * trim) for c in given.T.double().tolist()]
            np.testing.assert_allclose(numpy(got), expected, rtol=1e-6, atol=1e-7)
        assert result.kept is None
    middle = median.Median(median.Config(), SERVER).aggregate(updates, ROUND)
    np.testing.assert_allclose(numpy(middle.delta), np.median(numpy(updates.deltas), axis=0), rtol=1e-6)
    np.testing.assert_allclose(numpy(middle.buffers), np.median(numpy(updates.buffers), axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("beta", "count", "trim"),
    [
        *[(0.2, 10, 2), (0.29, 100, 29), (0.1, 5, 1), (0.1, 3, 1), (0.1, 2, 0), (0.4, 1, 0), (0.0, 9, 0), (0.49, 4, 1)],
        *[(0.9, 6, 2), (1.0, 5, 2)],  # a server may expect any share; something is always left
    ],
)
def test_trim_count(beta, count, trim):
    assert trimmed_mean.trim_count(beta, count) == trim


def test_trimmed_mean_takes_the_share_that_the_server_expects():
    result = trimmed_mean.TrimmedMean(trimmed_mean.Config(), SERVER).aggregate(random_updates(0), ROUND)
    assert result.info == {"trimmed_each_side": 2}
    for share, count, trim in ((0.25, 10, 3), (0.05, 10, 1), (0.14, 50, 7), (0.0, 10, 0), (0.9, 6, 2)):
        server = replace(SERVER, assumed_malicious=share)
        rule = trimmed_mean.TrimmedMean(trimmed_mean.Config(), server)
        updates = updates_of(np.zeros((count, 2)))
        assert rule.aggregate(updates, ROUND).info == {"trimmed_each_side": trim}, "a round may have one attacker more"


def test_fedavg_weights_by_samples():
    updates = updates_of([[0.0, 4.0], [8.0, 0.0]], samples=[300, 100])
    weighted = fedavg.FedAvg(fedavg.Config(), SERVER).aggregate(updates, ROUND)
    assert weighted.delta.tolist() == [2, 3]
    assert weighted.buffers.tolist() == [0.5, 1.5]
    plain = fedavg.FedAvg(fedavg.Config(weighted=False), SERVER).aggregate(updates, ROUND)
    assert plain.delta.tolist() == [4, 2]


# --- effect, and mistakes of users -----------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [krum, multi_krum, flame])
def test_selecting_defenses_exclude_large_opposite_updates(module):
    updates, benign = attacked_updates()
    defense = {krum: krum.Krum, multi_krum: multi_krum.MultiKrum, flame: flame.Flame}[module]
    result = defense(module.Config(), SERVER).aggregate(updates, ROUND)
    assert not result.kept[3:5].any()
    assert result.kept.any()
    assert np.linalg.norm(numpy(result.delta) - benign) < 0.6 * np.linalg.norm(benign)


def test_coordinate_rules_stay_with_the_benign_clients_and_fedavg_does_not():
    updates, benign = attacked_updates()

    def error(defense):
        delta = numpy(defense.aggregate(updates, ROUND).delta)
        return np.linalg.norm(delta - benign) / np.linalg.norm(benign)

    assert error(median.Median(median.Config(), SERVER)) < 0.3
    assert error(trimmed_mean.TrimmedMean(trimmed_mean.Config(), SERVER)) < 0.3
    assert error(fedavg.FedAvg(fedavg.Config(), SERVER)) > 2


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: krum.Krum(krum.Config(malicious=0.5), SERVER), "krum: malicious 0.5"),
        (lambda: multi_krum.MultiKrum(multi_krum.Config(malicious=-0.1), SERVER), "multi-krum: malicious -0.1"),
        (lambda: flame.Flame(flame.Config(noise=-1.0), SERVER), "flame: noise -1.0"),
        (lambda: trimmed_mean.TrimmedMean(trimmed_mean.Config(beta=0.5), SERVER), "trimmed-mean: beta 0.5"),
    ],
)
def test_impossible_options_say_what_is_right(make, text):
    with pytest.raises(UserError, match=text):
        make()
