"""Eq. 3 to 6 against numbers worked out by hand, and against loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clipfed_bench.clipfed.losses import class_prototypes, prototype_loss, rectification_loss, transfer_loss


def test_prototype_loss_by_hand() -> None:
    # s⁺_c = 0.5, other similarities 0.1 and -0.2, τ = 0.1: -5 + log(e^1 + e^-2)
    positive = torch.tensor([[0.5, 9.0, 9.0]])
    contrast = torch.tensor([[0.9, 0.1, -0.2]])
    expected = -5.0 + math.log(math.e + math.exp(-2.0))
    assert float(prototype_loss(positive, contrast, torch.tensor([0]), 0.1)) == pytest.approx(expected, rel=1e-6)
    assert expected < 0  # unlike InfoNCE: the positive is in no denominator


def test_positive_is_not_in_the_denominator() -> None:
    positive, labels = torch.tensor([[0.3, 0.0, 0.0]]), torch.tensor([0])
    low = prototype_loss(positive, torch.tensor([[-1.0, 0.1, 0.2]]), labels, 0.1)
    high = prototype_loss(positive, torch.tensor([[+1.0, 0.1, 0.2]]), labels, 0.1)
    assert float(low) == float(high)


def _loop(features, projected, labels, image, text, own, tau):  # type: ignore[no-untyped-def]
    def cos(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    total = 0.0
    for v, p, c in zip(features, projected, labels, strict=True):
        others = [k for k in range(len(text)) if k != c]
        first = math.exp(cos(p, image[c]) / tau) / sum(math.exp(cos(v, own[k]) / tau) for k in others)
        second = math.exp(cos(p, text[c]) / tau) / sum(math.exp(cos(p, text[k]) / tau) for k in others)
        total += -math.log(first) - math.log(second)
    return total / len(labels)


def test_rectification_loss_matches_the_formula() -> None:
    stream = torch.Generator().manual_seed(1)
    classes, batch, width, teacher_width = 4, 6, 5, 7

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=stream, dtype=torch.float64)

    features, projected = draw(batch, width), draw(batch, teacher_width)
    labels = torch.tensor([0, 1, 2, 3, 1, 0])
    image, text, own = draw(classes, teacher_width), draw(classes, teacher_width), draw(classes, width)
    unit = [torch.nn.functional.normalize(p, dim=1) for p in (image, text, own)]
    got = rectification_loss(features, projected, labels, *unit, temperature=0.1)
    expected = _loop(*(t.numpy() for t in (features, projected, labels, image, text, own)), 0.1)
    assert float(got) == pytest.approx(expected, rel=1e-9)


def test_transfer_loss_by_hand() -> None:
    # Student uniform over two classes, teacher (0.75, 0.25): CE = log 2, KL(teacher ‖ student).
    logits = torch.zeros(1, 2)
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    loss = transfer_loss(logits, teacher, torch.tensor([1]), beta=2.0, temperature=1.0)
    assert float(loss) == pytest.approx(math.log(2.0) + 2.0 * divergence, rel=1e-6)


def test_transfer_loss_temperature() -> None:
    # At T = 3 the teacher's logits (3 log 3, 0) soften to (0.75, 0.25), and the KL counts nine times.
    teacher = torch.tensor([[3 * math.log(3.0), 0.0]])
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    loss = transfer_loss(torch.zeros(1, 2), teacher, torch.tensor([0]), beta=1.0, temperature=3.0)
    assert float(loss) == pytest.approx(math.log(2.0) + 9 * divergence, rel=1e-6)


def test_class_prototypes_by_hand() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [0.0, -1.0]])
    prototypes = class_prototypes(features, torch.tensor([0, 0, 1]), 3)
    half = math.sqrt(0.5)  # the mean of unit vectors, not of the vectors: length must not weigh
    torch.testing.assert_close(prototypes, torch.tensor([[half, half], [0.0, -1.0], [0.0, 0.0]]))
