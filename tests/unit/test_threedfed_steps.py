"""The steps of 3DFed against their formulas in float64: masks, curvature, places, verdicts, tuning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from makers.images import noise
from torch import Tensor, nn

from clipfed_bench.attack_kit import indicators
from clipfed_bench.attack_kit.indicators import Indicators, choose_places, verdicts
from clipfed_bench.attack_kit.noise_masks import mask_unit, noise_masks
from clipfed_bench.attack_kit.tuning import Tuning, tuned
from clipfed_bench.models.build import build_model


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def masks_reference(update: np.ndarray, noises: np.ndarray, share: float) -> np.ndarray:
    masks = noises - noises.mean(axis=0) if len(noises) > 1 else noises
    speeds, multiplier = np.zeros_like(noises), 1.0
    for _ in range(30):
        together, new = masks.sum(axis=0), []
        for i, mask in enumerate(masks):
            moved, norm = update + mask, np.sqrt((mask**2).sum())
            slope = -share * 0.1 * np.sign(moved) / (np.abs(moved).sum(axis=1, keepdims=True) ** 2)
            slope += (1 - share) * 0.01 * mask / norm if norm else 0.0
            length = np.sqrt((together**2).sum())
            slope += multiplier * 0.01 * together / length if length > 1e-6 else 0.0
            speeds[i] = 0.9 * speeds[i] + slope / (1 + multiplier) + 5e-4 * mask
            new.append(mask - 0.1 * speeds[i])
        masks = np.stack(new)
        multiplier += 0.1 * np.sqrt((masks.sum(axis=0) ** 2).sum())
    return masks


@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.parametrize("group", [1, 2, 5])
def test_masks_by_their_steps(group: int, share: float) -> None:
    update = 5 * noise(3, 20, seed=1) - 1
    noises = 0.01 * torch.randn(group, 3, 20, generator=stream())
    expected = masks_reference(update.double().numpy(), noises.double().numpy(), share)
    found = noise_masks(update, group, share, stream())
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=5e-5)  # a sign that turns a step later


@pytest.mark.parametrize("scale", [0.001, 1.0, 100.0])
def test_masks_in_units_head_for_the_energy_of_another_neuron(scale: float) -> None:
    update = 0.05 * scale * (noise(5, 129) - 0.5)
    energy = torch.tensor(4.0 * scale)
    unit = mask_unit(energy, update)
    masked = update + unit * noise_masks(update / unit, 3, 0.5, stream())
    for found in masked.abs().sum(dim=2).flatten().tolist():
        assert 0.35 * float(energy) < found < float(energy)


class Small(nn.Module):
    """A convolution and a classifier, behind a wrapper's name."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.conv = nn.Conv2d(3, 2, 3)  # type: ignore[assignment]
        self.model.classifier = nn.Linear(2, 10)  # type: ignore[assignment]
        for seed, p in enumerate(self.parameters()):
            p.data = noise(*p.shape, seed=seed) - 0.5

    def forward(self, images: Tensor, kernel: Tensor | None = None) -> Tensor:
        conv, classifier = self.model.conv, self.model.classifier
        maps = F.conv2d(images, conv.weight if kernel is None else kernel, conv.bias)
        logits: Tensor = F.linear(torch.tanh(maps).mean(dim=(2, 3)), classifier.weight, classifier.bias)
        return logits


def test_curvature_is_the_row_sums_of_the_hessian_as_parameters_lie() -> None:
    model, batches = Small().double(), [(noise(4, 3, 6, 6, seed=s).double(), torch.arange(4) + s) for s in (0, 1)]
    kernel = model.model.conv.weight.detach()

    def slope(step: float) -> Tensor:
        moved = (kernel + step).requires_grad_()
        loss = sum(F.cross_entropy(model(images, moved), labels) for images, labels in batches)
        return torch.autograd.grad(loss, moved)[0]  # type: ignore[arg-type]

    expected = (slope(1e-4) - slope(-1e-4)) / 2e-4  # along all ones
    found = indicators.curvature(model, "conv.weight", batches)
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).flatten(), rtol=1e-4, atol=1e-7)


def test_curvature_of_the_small_network_is_that_of_torch_s_operators() -> None:
    """Its compiled kernels have no second derivative."""
    images, labels = noise(2, 3, 32, 32), torch.tensor([1, 2])
    one, other = (build_model("cnn", 10, 0, kernels) for kernels in ("torch", "torch"))
    other.kernels = "numba"
    found = [indicators.curvature(model, "convolutions.8.weight", [(images, labels)]) for model in (one, other)]
    assert torch.equal(*found)
    assert found[0].abs().max() > 0


def test_the_layer_is_the_last_convolution_or_matrix() -> None:
    names = {"conv.weight": slice(0, 54), "classifier.weight": slice(54, 74)}
    assert indicators.indicator_layer(Small(), names) == "conv.weight"
    assert indicators.indicator_layer(Small(), {"classifier.weight": slice(0, 20)}) == "classifier.weight"


def test_places_are_those_of_the_least_curvature_among_the_least_moved() -> None:
    for seed in range(5):
        size, bent = noise(100, seed=seed), noise(100, seed=10 + seed) - 0.5
        candidates = sorted(range(100), key=lambda k: size[k])[:30]
        expected = sorted(candidates, key=lambda k: abs(bent[k]))[:3]
        assert choose_places(size, bent, 3).tolist() == expected
    assert choose_places(torch.zeros(4), torch.zeros(4), 3).tolist() == [0, 1, 2]


def test_a_model_that_moves_by_a_share_says_so() -> None:
    uploads, params = noise(3, 10) - 0.5, noise(10, seed=1)
    uploads[2, 4] = 0
    placed = Indicators.of(uploads, torch.tensor([1, 8, 4]), params)
    assert placed.values.tolist() == pytest.approx([1e5 * float(uploads[0, 1]), 1e5 * float(uploads[1, 8]), 1e-3])
    crafted = placed.implant(uploads)
    assert (crafted != uploads).sum(dim=1).tolist() == [1, 1, 1]
    moved = 0.25 * torch.where(torch.arange(10) == 8, crafted[1], 0.0)
    assert placed.feedback(params + moved) == pytest.approx([0.0, 0.25, 0.0], abs=1e-3)
    bounded = Indicators.of(uploads, torch.tensor([1, 8, 4]), params, torch.tensor(2.0))
    assert bounded.values.abs().tolist() == pytest.approx([2, 2, 1e-3])


A, C, R = "accepted", "clipped", "rejected"


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [
        ([0.1, 0.1, 0.0], [A, A, R]),
        ([0.1, 0.08, 0.0801], [A, C, A]),
        ([0.01, -0.01], [R, R]),
        ([0.1, -0.02], None),
        ([1.02, 0.1], None),
        ([float("nan"), 0.5], [R, A]),
        ([], []),
    ],
)
def test_verdicts(feedback: list[float], expected: list[str] | None) -> None:
    assert verdicts(feedback, 0.01) == expected


@pytest.mark.parametrize(
    ("before", "seen", "decoys", "low", "high"),
    [
        (Tuning((0.5,)), [A, A], 0, (0.5,), (0.5,)),  # one good group keeps its share
        (Tuning((0.5,)), [A, C], 0, (0.2,), (0.99,)),  # not good, but something came through
        (Tuning((0.5,)), [R, R], 1, (0.2,), (0.99,)),
        (Tuning((0.5,), 1), [R, R, A], 0, (0.2,), (0.99,)),  # an accepted decoy
        (Tuning((0.5,), 2), [A, A, A, R], 1, (0.5,), (0.5,)),
        (Tuning((0.5,), 1), [R, R, R], 2, (0.2,), (0.99,)),
        (Tuning((0.7, 0.3)), [A, A, A, A], 0, (0.3, 0.3), (0.7, 0.7)),
        (Tuning((0.7, 0.3)), [A, A, R, A], 0, (0.7, 0.7), (0.8, 0.8)),
        (Tuning((0.7, 0.3)), [R, R, R, A], 0, (0.2, 0.2), (0.99, 0.99)),
    ],
)
def test_tuning(before: Tuning, seen: list[str], decoys: int, low: tuple[float, ...], high: tuple[float, ...]) -> None:
    found = tuned(before, seen, group=2, least=0.2, stream=stream())
    assert (found.decoys, found.noisy) == (decoys, False)
    assert all(a <= share <= b for a, share, b in zip(low, found.shares, high, strict=True))
    assert found == tuned(before, seen, 2, 0.2, stream())


def test_noise_ends_it_for_good() -> None:
    found = tuned(Tuning((0.5, 0.6), 1), None, 2, 0.2, stream())
    assert found == Tuning((0.2, 0.2), 0, noisy=True)
    assert tuned(found, [A, A, A, A], 2, 0.2, stream()) == found
