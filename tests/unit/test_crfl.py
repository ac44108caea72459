"""CRFL against Algorithm 1 in float64, its noise, its state, and its effect."""

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, updates_of

from baselines.crfl import CRFL, Config
from clipfed_bench.api import RoundContext
from clipfed_bench.core.errors import UserError


def reference(updates, bound):
    """The model after steps 1 and 2."""
    samples = updates.num_samples.numpy()
    model = numpy(updates.global_params) + samples @ numpy(updates.deltas) / samples.sum()
    return model / max(1, np.sqrt((model**2).sum()) / bound)


@pytest.mark.parametrize("config", [Config(sigma=0), Config(bound=3.0, sigma=0), Config(2.0, 0.5, 0)])
def test_equals_algorithm_1_over_rounds(config):
    draw, defense = np.random.default_rng(0), CRFL(config, SERVER)
    model = draw.normal(size=50)
    first, clipped = config.bound or np.linalg.norm(model.astype(np.float32)), 0
    for number in range(1, 7):
        updates = updates_of(draw.normal(size=(5, 50)), params=model, samples=draw.integers(1, 99, 5))
        result, bound = defense.aggregate(updates, RoundContext(number)), first + config.growth * number
        expected = reference(updates, bound)
        np.testing.assert_allclose(numpy(updates.global_params + result.delta), expected, rtol=1e-4, atol=1e-5)
        samples = updates.num_samples.numpy()
        np.testing.assert_allclose(result.buffers, samples @ updates.buffers.numpy() / samples.sum(), rtol=1e-6)
        assert result.kept is None
        assert float(result.info["crfl_bound"]) == pytest.approx(bound)
        clipped += float(result.info["crfl_norm"]) > bound
        model = expected
    assert clipped


def test_a_model_within_the_bound_moves_by_the_mean_to_the_bit():
    updates = updates_of(np.random.default_rng(1).normal(size=(4, 30)), params=np.ones(30))
    result = CRFL(Config(bound=1000.0, sigma=0), SERVER).aggregate(updates, ROUND)
    assert torch.equal(result.delta, updates.mean(updates.num_samples).delta)


def test_noise_is_gaussian_of_that_deviation_and_of_each_round():
    updates = updates_of(np.zeros((2, 40_000)), params=np.ones(40_000))
    first, again, second = (
        CRFL(Config(sigma=0.02), SERVER).aggregate(updates, RoundContext(number)).delta for number in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert float(first.std()) == pytest.approx(0.02, rel=0.02)
    assert abs(float(first.mean())) < 5e-4
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.03


def test_a_scaled_update_does_not_blow_up_the_model_and_what_it_replaced_is_forgotten_in_part():
    deltas = np.zeros((10, 100))
    deltas[0] = 1000.0
    updates = updates_of(deltas, params=np.ones(100))
    model = updates.global_params + CRFL(Config(sigma=0), SERVER).aggregate(updates, ROUND).delta
    assert float(model.norm()) == pytest.approx(10.0, rel=1e-5)


def test_the_bound_is_that_of_the_first_round_also_after_a_stop():
    first, second = (CRFL(Config(sigma=0), SERVER) for _ in range(2))
    assert second.state() == {}
    first.aggregate(updates_of(np.zeros((1, 4)), params=np.ones(4)), ROUND)
    second.load_state(first.state())
    result = second.aggregate(updates_of(np.zeros((1, 4)), params=np.full(4, 5.0)), RoundContext(2))
    assert result.delta.tolist() == [-4.0] * 4  # from a norm of 10 to 2


def test_a_model_of_zeros_stays_where_nobody_moves_it():
    result = CRFL(Config(sigma=0), SERVER).aggregate(updates_of(np.zeros((3, 4))), ROUND)
    assert not result.delta.any()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (Config(bound=0.0), "crfl: bound 0.0"),
        (Config(growth=-1.0), "crfl: growth -1.0"),
        (Config(sigma=-0.1), "crfl: sigma -0.1"),
    ],
)
def test_impossible_options_say_what_is_right(config, text):
    with pytest.raises(UserError, match=text):
        CRFL(config, SERVER)
