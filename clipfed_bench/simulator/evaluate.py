"""Main-task accuracy (MTA), also of head, middle and tail classes, attack success rate (ASR), also without a trigger,
in fractions; and what else there is a metric for.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from clipfed_bench.api import Attack
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.metric import TestOutputs
from clipfed_bench.runs.metric_catalog import measured
from clipfed_bench.runs.metrics import Metric
from clipfed_bench.simulator.shape_checks import fitting
from clipfed_bench.simulator.shots import Shots, accuracies
from clipfed_bench.toolbox.device import read
from clipfed_bench.toolbox.images import Images, Normalizer

OF_TRIGGER = ("asr", "asr_clean")
"""Metrics that depend on a cell's trigger or target; the others are alike for cells that share a model."""


@dataclass(frozen=True)
class TestSets:
    """Test images, made once for a cell."""

    __test__ = False  # not a pytest class

    clean: Tensor
    """(N, C, H, W), as ``prepare`` takes them: uint8, since float32 is four times as large."""
    labels: Tensor
    """(N,) int64."""
    triggered: Tensor
    """(M, C, H, W) normalized float32: the images *whose label is not the target*, triggered (Eq. 1)."""
    target: int
    shots: Shots | None = None
    """The classes of a long-tailed data set in groups."""
    measured: tuple[Metric, ...] = ()
    """What is measured of the model's outputs besides."""
    prepare: Callable[[Tensor], Tensor] | None = None
    """Makes what the model takes of a batch of clean images; None: they are it."""

    def outputs(self, clean: Tensor, triggered: Tensor) -> TestOutputs:
        """The outputs of a model, logits for ``clean`` and ``triggered``; labels are copies."""
        others = self.labels[self.labels != self.target] if len(triggered) else self.labels[:0]
        return TestOutputs(clean, self.labels.clone(), triggered, others.clone(), self.target)


def prepared(normalize: Normalizer, images: Tensor) -> Tensor:
    """(B, C, H, W) uint8 -> normalized float32."""
    return normalize(normalize.pixels(images))


def normalized(
    images: Tensor, normalize: Normalizer, change: Callable[[Tensor], Tensor] | None = None, size: int = 500
) -> Tensor:
    """All (N, C, H, W) uint8 ``images``, their pixels changed by ``change``, normalized, channels last."""
    out = torch.empty(images.shape, device=images.device, memory_format=torch.channels_last)
    for part, place in zip(torch.split(images, size), torch.split(out, size), strict=True):
        pixels = normalize.pixels(part)
        place.copy_(normalize(pixels if change is None else change(pixels)))
    return out


def make_test_sets(test: Images, attack: Attack, normalize: Normalizer, shots: Shots | None = None) -> TestSets:
    """Of an untargeted attack nothing is triggered.

    Raises UserError for a trigger that gives other than as many images of the same shape.
    """
    target = attack.context.target
    others = test.take((test.labels != target).nonzero().flatten()).images
    if attack.untargeted:
        others = others[:0]
    name = type(attack).__name__

    def trigger(images: Tensor) -> Tensor:
        return fitting(attack.trigger(images), images.shape, f"what {name}.trigger gives")

    triggered, prepare = normalized(others, normalize, trigger), partial(prepared, normalize)
    return TestSets(test.images, test.labels, triggered, target, shots, measured(), prepare)


@torch.no_grad()
def evaluate(model: nn.Module, sets: TestSets) -> dict[str, float]:
    """``mta``, ``asr`` and ``asr_clean`` of ``model`` in evaluation mode; with a long tail also those of its classes.

    Both ASR are nan when no image is triggered. After them, and :func:`.shots.accuracies`, comes what is ``measured``
    besides. Raises UserError where an output is not finite: such a model calls all images one class, so that ASR is 0
    or 1.
    """
    model.eval()
    clean, triggered = list[Tensor](), list[Tensor]()
    found, broken = _predicted(model, sets.clean, clean if sets.measured else None, sets.prepare)
    poisoned, also = _predicted(model, sets.triggered, triggered if sets.measured else None)
    hit, others = found == sets.labels, sets.labels != sets.target
    counts = [hit.sum(), (poisoned == sets.target).sum(), (others & (found == sets.target)).sum(), others.sum()]
    by_class = hit.new_zeros(len(sets.shots.images) if sets.shots else 0, dtype=torch.int64)
    if sets.shots:
        by_class.scatter_add_(0, sets.labels, hit.long())
    right, fooled, mistaken, other, infinite, *hits = read([*counts, broken | also, *by_class])
    if infinite:
        raise UserError(
            "training has diverged: the model's outputs for test images are not finite; use a smaller lr, or other "
            "options of the defense."
        )
    attacked = len(sets.triggered) > 0
    figures = {"mta": right / len(sets.labels), "asr": fooled / len(sets.triggered) if attacked else math.nan}
    figures["asr_clean"] = mistaken / other if attacked and other else math.nan
    figures |= accuracies(sets.shots, hits) if sets.shots else {}
    return figures | _measured(sets, clean, triggered) if sets.measured else figures


def _measured(sets: TestSets, clean: list[Tensor], triggered: list[Tensor]) -> dict[str, float]:
    """What is measured besides, of logits in parts."""
    whole = torch.cat(clean)
    outputs = sets.outputs(whole, torch.cat([whole[:0], *triggered]))
    with torch.autocast(whole.device.type, enabled=False):
        return {metric.name: metric.measure(outputs) for metric in sets.measured if metric.measure is not None}


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (N, classes) of normalized ``images`` (N, C, H, W), in evaluation mode."""
    model.eval()
    return torch.cat([model(part) for part in torch.split(images, _batch_size(images))])


class _OfPixels(nn.Module):
    def __init__(self, model: nn.Module, normalize: Normalizer) -> None:
        super().__init__()
        self.model, self._normalize = model, normalize

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(self._normalize(pixels))
        return logits


def pixel_model(model: nn.Module, normalize: Normalizer) -> nn.Module:
    """A copy of ``model`` in evaluation mode and memory of its own that takes images (B, C, H, W) in [0, 1]."""
    return _OfPixels(copy.deepcopy(model), normalize).eval()


def _batch_size(images: Tensor) -> int:
    return 2000 if images.is_cuda else 128  # larger batches leave a CPU core's cache


def _predicted(
    model: nn.Module,
    images: Tensor,
    keep: list[Tensor] | None = None,
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The classes that ``images`` are taken for, int64 (N,), and whether any output was not finite.

    The logits of each batch, float32, are added to ``keep``.
    """
    size = _batch_size(images)
    found = torch.empty(len(images), dtype=torch.int64, device=images.device)
    broken = torch.zeros((), dtype=torch.bool, device=images.device)
    parts = zip(torch.split(images, size), torch.split(found, size), strict=True)
    for part, place in parts if len(images) else ():
        logits = model(part if prepare is None else prepare(part))
        place.copy_(logits.argmax(dim=1))
        broken |= ~torch.isfinite(logits).all()
        if keep is not None:
            keep.append(logits.float().clone())
    return found, broken
