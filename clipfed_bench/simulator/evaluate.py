"""Main-task accuracy (MTA) and attack success rate (ASR), in fractions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipfed_bench.api import Attack
from clipfed_bench.simulator.shape_checks import fitting
from clipfed_bench.toolbox.device import read
from clipfed_bench.toolbox.images import Images, Normalizer

OF_TRIGGER = ("asr",)
"""Metrics that depend on a cell's trigger; the others are alike for cells that share a model."""


@dataclass(frozen=True)
class TestSets:
    """Test images as the model takes them, made once for a cell."""

    __test__ = False  # not a pytest class

    clean: Tensor
    """(N, C, H, W) normalized float32."""
    labels: Tensor
    """(N,) int64."""
    triggered: Tensor
    """(M, C, H, W) normalized float32: the images *whose label is not the target*, triggered (Eq. 1)."""
    target: int


def normalized(images: Tensor, normalize: Normalizer, size: int = 500) -> Tensor:
    """All (N, C, H, W) uint8 ``images`` normalized."""
    return torch.cat([normalize(normalize.pixels(part)) for part in torch.split(images, size)])


def make_test_sets(test: Images, clean: Tensor, attack: Attack, normalize: Normalizer) -> TestSets:
    """``clean`` is :func:`normalized` of ``test.images``: cells share it.

    Raises UserError for a trigger that gives other than as many images of the same shape.
    """
    target = attack.context.target
    others = test.images[test.labels != target]
    name = type(attack).__name__

    def trigger(images: Tensor) -> Tensor:
        return normalize(fitting(attack.trigger(images), images.shape, f"what {name}.trigger gives"))

    triggered = torch.cat([trigger(normalize.pixels(part)) for part in torch.split(others, 500)])
    return TestSets(clean, test.labels, triggered, target)


@torch.no_grad()
def evaluate(model: nn.Module, sets: TestSets) -> dict[str, float]:
    """``mta`` and ``asr`` of ``model`` in evaluation mode.

    ASR is nan when no test image has another label than the target.
    """
    model.eval()
    hits = _count(model, sets.clean, sets.labels)
    taken = _count(model, sets.triggered, torch.full((len(sets.triggered),), sets.target, device=sets.labels.device))
    right, fooled = read([hits, taken])
    asr = fooled / len(sets.triggered) if len(sets.triggered) else math.nan
    return {"mta": right / len(sets.labels), "asr": asr}


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (N, classes) of normalized ``images`` (N, C, H, W), in evaluation mode."""
    model.eval()
    return torch.cat([model(part) for part in torch.split(images, _batch_size(images))])


def _batch_size(images: Tensor) -> int:
    return 2000 if images.is_cuda else 128  # larger batches leave a CPU core's cache


def _count(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    size = _batch_size(images)
    hits = torch.zeros((), dtype=torch.int64, device=images.device)
    for part, truth in zip(torch.split(images, size), torch.split(labels, size), strict=True):
        hits += (model(part).argmax(dim=1) == truth).sum()
    return hits
