"""Chameleon: its loss by the sums of its formula in float64, who learns from what, and what it does to features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from makers.attacks import TARGET, make
from makers.federations import small_federation

from attacks import chameleon
from clipfed_bench.api import LocalContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel

CONTEXT = LocalContext(1, torch.zeros(1), None)


def reference(features: np.ndarray, labels: list[int], weights: list[float], temperature: float) -> float:
    """Sum by sum, anchor by anchor."""
    unit = [row / math.sqrt(float(row @ row)) for row in features]
    total = 0.0
    for i, anchor in enumerate(unit):
        others = [a for a in range(len(unit)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        below = sum(math.exp(float(anchor @ unit[a]) / temperature) for a in others)
        logs = [math.log(math.exp(float(anchor @ unit[p]) / temperature) / below) for p in positives]
        total -= weights[i] * sum(logs) / max(1, len(positives))
    return total / len(unit)


@pytest.mark.parametrize("labels", [[5, 5, 5, 1, 1, 2], [0, 1, 2, 3, 4, 5], [5] * 6, [5, 1]])
def test_the_loss_by_its_sums(labels: list[int]) -> None:
    features = np.random.default_rng(len(labels)).normal(size=(len(labels), 7))
    weights = [6.0 if label == 5 else 1.0 for label in labels]
    for temperature in (0.07, 0.5):
        found = chameleon.contrastive(
            torch.tensor(features).float(), torch.tensor(labels), torch.tensor(weights), temperature
        )
        assert float(found) == pytest.approx(reference(features, labels, weights, temperature), rel=1e-4, abs=1e-5)


def test_edges_of_a_batch_have_gradients() -> None:
    for features, labels in (
        (torch.ones(1, 4), torch.tensor([5])),
        (torch.zeros(3, 4), torch.tensor([5, 5, 1])),
        (torch.ones(3, 4), torch.tensor([5, 5, 5])),
    ):
        free = features.clone().requires_grad_()
        loss = chameleon.contrastive(free, labels, torch.ones(len(labels)), 0.07)
        [slope] = torch.autograd.grad(loss, free)
        assert torch.isfinite(loss)
        assert torch.isfinite(slope).all()


def test_the_encoder_learns_from_contrast_and_the_classifier_from_labels() -> None:
    model, images = build_model("cnn", 10, 0), torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([5, 5, 5, 1, 1, 2, 3, 5])
    loss = make("chameleon", temperature=0.2).local_loss(CONTEXT)
    assert loss is not None
    found = torch.autograd.grad(loss(model, images, labels), [*model.parameters()])
    weights = torch.where(labels == TARGET, 6.0, 1.0)
    contrast = chameleon.contrastive(model.features(images), labels, weights, 0.2)
    entropy = F.cross_entropy(model(images), labels)
    for (name, p), slope in zip(model.named_parameters(), found, strict=True):
        term = entropy if name.startswith("classifier") else contrast
        torch.testing.assert_close(slope, torch.autograd.grad(term, p, retain_graph=True)[0], rtol=1e-4, atol=1e-6)


def test_a_step_of_a_malicious_client_descends_on_it_and_honest_ones_are_left_alone() -> None:
    federation, flat = small_federation(local_epochs=1, batch_size=8, momentum=0.0, lr=0.1)
    attack, everyone = make("chameleon"), (0, 1, 2, 3)
    plain = federation.train(flat, 1, everyone, make("badnets")).deltas
    found = federation.train(flat, 1, everyone, attack).deltas
    for client in everyone:
        if client not in federation.malicious:
            assert torch.equal(found[client], plain[client])
            continue
        data = federation.clients[client]
        order = next(iter(federation._task(data, 1, client).order))
        batch = data.take(order)
        pixels, labels = attack.poison(federation.normalize.pixels(batch.images), batch.labels, 0)
        other = FlatModel(build_model("cnn", 10, 0))
        loss = attack.local_loss(CONTEXT)
        assert loss is not None
        loss(other.model.train(), federation.normalize(pixels), labels).backward()
        torch.testing.assert_close(found[client], -0.1 * other.grad, rtol=1e-3, atol=1e-6)


def test_triggered_images_come_nearer_to_the_target_class_than_by_cross_entropy_and_are_taken_for_it() -> None:
    federation, flat = small_federation(local_epochs=12, batch_size=8, momentum=0.9, lr=0.02)
    client = federation.malicious[0]
    data = federation.clients[client]
    pixels = federation.normalize.pixels(data.images)
    clean, triggered = (federation.normalize(p) for p in (pixels, make("badnets").trigger(pixels)))

    def measured(name: str) -> tuple[float, float]:
        """Mean cosine of triggered images of other classes and the image of the target class; share taken for it."""
        model = FlatModel(build_model("cnn", 10, 0))
        model.params += federation.train(flat, 1, (client,), make(name)).deltas[0]
        with torch.no_grad():
            facilitator = model.model.features(clean[data.labels == TARGET])
            others = model.model.features(triggered[data.labels != TARGET])
            taken = model.model.classifier(others).argmax(1) == TARGET
        return float(F.cosine_similarity(others, facilitator).mean()), float(taken.float().mean())

    (near, taken), (usual, _) = measured("chameleon"), measured("badnets")
    assert near > usual
    assert taken == 1.0


def test_the_norm_ball_is_that_of_pgd() -> None:
    federation, flat = small_federation(local_epochs=2, batch_size=4, momentum=0.9, lr=0.1)
    found = federation.train(flat, 1, federation.malicious, make("chameleon", radius=0.5)).deltas
    assert torch.linalg.vector_norm(found, dim=1).max() <= 0.5 * (1 + 1e-5)
    assert make("chameleon").parameter_rule(CONTEXT) is None


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"facilitators": -1.0}, {"radius": 0.0}])
def test_what_does_not_fit(options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(UserError, match=f"{name} {value} is out of range"):
        make("chameleon", **options)
