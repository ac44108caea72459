"""Distillation: its steps by their formulas in float64, BatchNorm statistics, and what a student learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from makers.images import noise
from torch import Tensor, nn

from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.distillation import Distillation, distill, renew_statistics, soft_labels

HOW = Distillation(epochs=3, batch_size=4, temperature=2.0, lr=0.1, swa_lr=0.5, momentum=0.9, weight_decay=0.01)


def linear(seed: int = 0, scale: float = 0.3) -> nn.Module:
    """Of twelve pixel values and five classes."""
    layer = nn.utils.skip_init(nn.Linear, 12, 5)
    stream = torch.Generator().manual_seed(seed)
    for p in layer.parameters():
        p.data = scale * torch.randn(p.shape, generator=stream)
    return nn.Sequential(nn.Flatten(), layer)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def reference(w: np.ndarray, b: np.ndarray, x: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of T² KL(p ‖ q) by the logits is T (q - p)."""
    speeds, ends = (np.zeros_like(w), np.zeros_like(b)), []
    for epoch in range(HOW.epochs):
        rate = 0.1 + 0.4 * (1 - math.cos(math.pi * epoch / 10)) / 2
        for start in range(0, len(x), 4):
            batch, wanted = x[start : start + 4], p[start : start + 4]
            slope = 2.0 * (softmax((batch @ w.T + b) / 2) - wanted) / len(batch)
            grads = slope.T @ batch + 0.01 * w, slope.sum(axis=0) + 0.01 * b
            speeds = tuple(0.9 * v + g for v, g in zip(speeds, grads, strict=True))
            w, b = w - rate * speeds[0], b - rate * speeds[1]
        ends.append((w, b))
    return np.mean([end[0] for end in ends], axis=0), np.mean([end[1] for end in ends], axis=0)


@pytest.mark.parametrize("count", [1, 8, 10])
def test_the_steps_by_their_formulas(count: int) -> None:
    images, labels = noise(count, 3, 2, 2), F.softmax(3 * noise(count, 5, seed=1), dim=1)
    model = linear()
    start = [p.detach().double().numpy() for p in model.parameters()]
    expected = reference(*start, images.flatten(1).double().numpy(), labels.double().numpy())
    distill(model, images, labels, HOW, Compute())
    for found, value in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(found.detach(), value, rtol=1e-4, atol=1e-5)


def test_soft_labels_are_of_the_mean_of_logits() -> None:
    logits = [noise(4, 5, seed=seed) for seed in range(3)]
    expected = softmax(np.mean([one.double().numpy() for one in logits], axis=0) / 3)
    np.testing.assert_allclose(soft_labels(logits, 3.0), expected, rtol=1e-5)


def test_statistics_are_the_plain_mean_over_batches() -> None:
    norm = nn.BatchNorm2d(3)
    batches = [noise(count, 3, 4, 4, seed=count) for count in (5, 2)]
    renew_statistics(nn.Sequential(norm), batches)
    values = [batch.double().transpose(0, 1).flatten(1).numpy() for batch in batches]
    np.testing.assert_allclose(norm.running_mean, np.mean([v.mean(axis=1) for v in values], axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, np.mean([v.var(axis=1, ddof=1) for v in values], axis=0), rtol=1e-5)
    assert norm.momentum == 0.1


def test_a_student_comes_to_agree_with_its_teachers_where_it_did_not() -> None:
    images = noise(64, 3, 2, 2) - 0.5
    student, teachers = linear(9, 1.0), [linear(seed, 4.0) for seed in range(3)]

    def agreement(labels: Tensor) -> float:
        with torch.no_grad():
            return float((student(images).argmax(1) == labels.argmax(1)).float().mean())

    with torch.no_grad():
        labels = soft_labels([teacher(images) for teacher in teachers], 1.0)
    before = agreement(labels)
    kept = [p.grad for p in student.parameters()]
    distill(student, images, labels, Distillation(20, 8, 1.0, 0.3, 0.3, 0.9, 0.0), Compute())
    assert before < 0.5
    assert agreement(labels) > 0.85
    assert [p.grad for p in student.parameters()] == kept
