"""Norm clipping and centered clipping against float64 references written from their papers, and their effect."""

import math

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, random_deltas, updates_of

from baselines.centered_clip import CenteredClip
from baselines.centered_clip import Config as Centered
from baselines.norm_clip import Config as Norm
from baselines.norm_clip import NormClip
from clipfed_bench.api import RoundContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.distances import clip_factors, distances_to
from clipfed_bench.toolbox.rng import generator


def norm(vector):
    return math.sqrt(sum(x * x for x in vector))


def middle(values):
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def norm_clip_reference(points, sizes, bound):
    """Sun et al.: Σ n_i Δ_i / max(1, ‖Δ_i‖ / M) over Σ n_i."""
    bound = middle([norm(p) for p in points]) if bound is None else bound
    return sum(n * p / max(1, norm(p) / bound) for n, p in zip(sizes, points, strict=True)) / sum(sizes), bound


@pytest.mark.parametrize("bound", [None, 5.0, 60.0])
@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_norm_clip_equals_the_paper(count, bound):
    sizes = np.random.default_rng(count).integers(1, 500, count)
    updates = updates_of(random_deltas(count, count), samples=sizes)
    result = NormClip(Norm(bound), SERVER).aggregate(updates, ROUND)
    points = numpy(updates.deltas)
    expected, used = norm_clip_reference(points, sizes, bound)
    np.testing.assert_allclose(numpy(result.delta), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(numpy(result.buffers), sizes @ numpy(updates.buffers) / sizes.sum(), rtol=1e-6)
    clipped = sum(norm(p) > used * (1 + 1e-9) for p in points)
    assert result.info == {"norm_clip_bound": pytest.approx(used), "norm_clip_clipped": clipped}
    assert result.kept is None


def test_norm_clip_noise_is_gaussian_and_on_parameters_only():
    updates = updates_of(np.random.default_rng(0).normal(size=(3, 20_000)))
    quiet = NormClip(Norm(), SERVER).aggregate(updates, ROUND)
    noisy = NormClip(Norm(noise=0.025), SERVER).aggregate(updates, ROUND)
    drawn = torch.randn(20_000, generator=generator(ROUND.seed, "norm-clip-noise", ROUND.round))
    assert torch.equal(noisy.delta, quiet.delta + 0.025 * drawn)
    assert torch.equal(noisy.buffers, quiet.buffers)
    assert (noisy.delta - quiet.delta).std().item() == pytest.approx(0.025, rel=0.02)
    other = NormClip(Norm(noise=0.025), SERVER).aggregate(updates, RoundContext(2, ROUND.seed))
    assert not torch.equal(other.delta, noisy.delta)


def centered_reference(points, center, tau, steps):
    """Karimireddy et al., Algorithm 2: v + 1/n Σ (Δ_i - v) min(1, τ / ‖Δ_i - v‖), so many times."""
    for _ in range(steps):
        apart = [norm(p - center) for p in points]
        radius = middle(apart) if tau is None else tau
        moves = [(p - center) * (min(1, radius / a) if a else 1) for p, a in zip(points, apart, strict=True)]
        center = center + sum(moves) / len(moves)
    return center


@pytest.mark.parametrize(("tau", "steps"), [(None, 1), (None, 3), (10.0, 2), (1e4, 1)])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_centered_clip_equals_algorithm_2_over_rounds(count, tau, steps):
    defense = CenteredClip(Centered(tau, steps), SERVER)
    center = np.zeros(random_deltas(0, 1).shape[1])
    for number in range(3):
        updates = updates_of(random_deltas(number, count))
        result = defense.aggregate(updates, ROUND)
        center = centered_reference(numpy(updates.deltas), center, tau, steps)
        np.testing.assert_allclose(numpy(result.delta), center, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numpy(result.buffers), numpy(updates.buffers).mean(axis=0), rtol=1e-6)
    assert result.kept is None


def test_centered_clip_goes_on_from_its_state_alone():
    first, second, fresh = (CenteredClip(Centered(), SERVER) for _ in range(3))
    assert first.state() == {}
    first.aggregate(updates_of(random_deltas(1)), ROUND).delta.fill_(7)  # the caller's from then on
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    updates = updates_of(random_deltas(2))
    after, again, without = (d.aggregate(updates, ROUND).delta for d in (first, second, fresh))
    assert torch.equal(after, again)
    assert not torch.equal(after, without)


@pytest.mark.parametrize("make", [lambda: NormClip(Norm(), SERVER), lambda: CenteredClip(Centered(), SERVER)])
def test_one_boosted_update_moves_the_aggregate_no_further_than_another_client(make):
    benign = np.random.default_rng(3).normal(size=(9, 40)) + 3
    target = np.zeros(40)
    target[0] = 1
    moved = []
    for boost in (10, 1e6):
        deltas = np.concatenate([benign, boost * 20 * target[None]])
        moved.append(numpy(make().aggregate(updates_of(deltas), ROUND).delta))
    assert np.linalg.norm(moved[0] - moved[1]) < 1e-3  # beyond the bound its length is nothing
    assert np.linalg.norm(moved[1] - benign.mean(axis=0)) < 0.3 * np.linalg.norm(benign.mean(axis=0))


def test_clip_factors_and_distances():
    norms = torch.tensor([0.0, 1, 2, 8], dtype=torch.float64)
    assert clip_factors(norms, 2.0).tolist() == [1, 1, 1, 0.25]
    assert clip_factors(norms, norms[0]).tolist() == [1, 0, 0, 0]
    draw = np.random.default_rng(4)
    matrix, point = draw.normal(size=(3, 300_000)).astype(np.float32), draw.normal(size=300_000).astype(np.float32)
    expected = np.sqrt(((matrix.astype(float) - point) ** 2).sum(axis=1))  # over several blocks
    found = distances_to(torch.from_numpy(matrix), torch.from_numpy(point))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: NormClip(Norm(bound=0.0), SERVER), "norm-clip: bound 0.0"),
        (lambda: NormClip(Norm(noise=-1.0), SERVER), "norm-clip: noise -1.0"),
        (lambda: CenteredClip(Centered(tau=-2.0), SERVER), "centered-clip: tau -2.0"),
        (lambda: CenteredClip(Centered(steps=0), SERVER), "centered-clip: steps 0"),
    ],
)
def test_impossible_options_say_what_is_right(make, text):
    with pytest.raises(UserError, match=text):
        make()
