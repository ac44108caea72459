"""IBA by a slow reference in float64: its generator, its training, its bound; and in a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers.adapting import BATCH, COUNT, ROUND, SEED, SHAPE, adapting, cross_entropy, network
from makers.attacks import TARGET, context, make
from makers.images import noise
from makers.specs import environment, small_cell
from miniature import miniature
from torch import Tensor

from attacks import iba
from clipfed_bench.attack_kit.adam import Adam
from clipfed_bench.core.errors import UserError
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import evaluate
from clipfed_bench.toolbox.rng import generator


def attack(**options: Any) -> iba.IBA:
    return iba.IBA(iba.Config(width=3, **options), context(shape=SHAPE))


def convolution(images: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """3 × 3, padded by one, as a sum of nine shifted products."""
    padded = torch.zeros(*images.shape[:2], images.shape[2] + 2, images.shape[3] + 2, dtype=images.dtype)
    padded[..., 1:-1, 1:-1] = images
    total = bias[None, :, None, None].expand(len(images), -1, *images.shape[2:])
    for row in range(3):
        for col in range(3):
            part = padded[..., row : row + images.shape[2], col : col + images.shape[3]]
            total = total + torch.einsum("bihw,oi->bohw", part, kernel[:, :, row, col])
    return total


def triggered(images: Tensor, weights: list[Tensor], epsilon: float) -> Tensor:
    hidden = convolution(images - 0.5, weights[0], weights[1]).clamp(min=0)
    hidden = convolution(hidden, weights[2], weights[3]).clamp(min=0)
    return (images + epsilon * torch.tanh(convolution(hidden, weights[4], weights[5]))).clamp(0, 1)


def reference(start: dict[str, Tensor], epochs: int, lr: float, epsilon: float) -> list[Tensor]:
    images, model = noise(COUNT, *SHAPE).double(), network(torch.float64)
    weights = [weight.double().requires_grad_() for weight in start.values()]
    stream, count = generator(SEED, "iba", ROUND), 0
    means, squares = ([np.zeros(tuple(w.shape)) for w in weights] for _ in range(2))
    for _ in range(epochs):
        for index in torch.split(torch.randperm(COUNT, generator=stream), BATCH):
            count += 1
            logits = model(triggered(images[index], weights, epsilon))
            slopes = torch.autograd.grad(cross_entropy(logits, torch.full((len(index),), TARGET)), weights)
            for k, slope in enumerate(each.numpy() for each in slopes):
                means[k] = 0.9 * means[k] + 0.1 * slope
                squares[k] = 0.999 * squares[k] + 0.001 * slope**2
                ratio = means[k] / (1 - 0.9**count) / (np.sqrt(squares[k] / (1 - 0.999**count)) + 1e-8)
                weights[k].data -= lr * torch.tensor(ratio)
    return [weight.detach() for weight in weights]


def test_the_generator_is_trained_as_the_method_says() -> None:
    one = attack(epochs=3, lr=0.02, epsilon=0.1)
    start = one.state()
    one.adapt(adapting())
    expected = reference(start, 3, 0.02, 0.1)
    for found, wanted in zip(one.state().values(), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-4)
    images = noise(3, *SHAPE, seed=5)
    torch.testing.assert_close(
        one.trigger(images).double(), triggered(images.double(), expected, 0.1), rtol=0, atol=1e-4
    )


def test_no_pixel_moves_by_more_than_epsilon_and_training_helps() -> None:
    one, images = attack(epochs=30, lr=0.02, epsilon=0.2), noise(40, *SHAPE, seed=2)
    model = network()
    before = model(one.trigger(images)).softmax(1)[:, TARGET].mean()
    one.adapt(adapting())
    out = one.trigger(images)
    assert (out - images).abs().max() <= 0.2 + 1e-6
    assert model(out).softmax(1)[:, TARGET].mean() > 1.1 * before
    assert not out.requires_grad


def test_it_goes_on_from_the_round_before_and_from_a_state() -> None:
    whole, stopped, resumed = attack(), attack(), attack()
    for each in (whole, stopped):
        each.adapt(adapting())
    resumed.load_state(stopped.state())
    for each in (whole, resumed):
        each.adapt(adapting(round=5))
    for one, two, before in zip(*(each.state().values() for each in (whole, resumed, stopped)), strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, before)


def test_a_step_of_adam_by_hand() -> None:
    tensor = torch.tensor([1.0, -2.0])
    step = Adam([tensor], lr=0.5)
    step([torch.tensor([0.3, 0.0])])  # the first step is as long as the rate, whatever the gradient
    torch.testing.assert_close(tensor, torch.tensor([0.5, -2.0]))


def test_a_cell_of_it_works(tmp_path: Path) -> None:
    cell = small_cell(attack="iba[epsilon=0.3,lr=0.02]", rounds=1, malicious=0.2, warmup_rounds=2, lr=0.1)
    with miniature(evaluate, train=4, test=4):
        found = run_cell(cell, environment(tmp_path, "warmup"))
    assert found.final["asr"] > found.history[0]["asr"] + 0.3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epsilon": 0.0}, "epsilon 0.0 is out of range"),
        ({"epochs": 0}, "epochs 0 is too few"),
        ({"width": 0}, "width 0 is too few"),
        ({"lr": 0.0}, "lr 0.0 trains nothing"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make("iba", **options)
