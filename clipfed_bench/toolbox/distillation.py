"""Distillation of soft labels into a model, which becomes the mean of the models at the ends of the epochs.

Hinton et al., "Distilling the Knowledge in a Neural Network", 2015: at temperature T, with soft labels p, a step
descends on T² KL(p ‖ softmax(logits / T)), mean over the batch. Izmailov et al., "Averaging Weights Leads to Wider
Optima and Better Generalization", UAI 2018 (SWA): the result is the mean of the parameters at the ends of all epochs,
and BatchNorm statistics are taken anew with it. In epoch e = 0, 1, ... the learning rate is
lr + (swa_lr - lr) (1 - cos(π min(e / 10, 1))) / 2, as torch.optim.swa_utils.SWALR anneals it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.sgd import sgd

from clipfed_bench.toolbox.compute import Compute

ANNEALED = 10
"""Epochs in which the learning rate goes from ``lr`` to ``swa_lr`` [lineage: the default of SWALR]."""


@dataclass(frozen=True)
class Distillation:
    """How a student learns; momentum and decay are those of torch.optim.SGD."""

    epochs: int
    batch_size: int
    temperature: float
    lr: float
    swa_lr: float
    momentum: float
    weight_decay: float

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        share = (1 - math.cos(math.pi * min(epoch / ANNEALED, 1.0))) / 2
        return self.lr + (self.swa_lr - self.lr) * share


def soft_labels(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """What models say together: the softmax of the mean of their ``logits`` (N, classes) / T; the same shape."""
    total = torch.zeros_like(logits[0])
    for one in logits:
        total += one / len(logits)
    return F.softmax(total / temperature, dim=1)


def distill(model: nn.Module, images: Tensor, labels: Tensor, how: Distillation, compute: Compute) -> None:
    """Train ``model`` in place on normalized ``images`` (N, C, H, W), in their order, and soft ``labels`` (N, classes).

    It is left in training mode; gradients that are kept elsewhere stay as they are.
    """
    params: list[Tensor] = list(model.parameters())
    velocities, means = ([torch.zeros_like(p) for p in params] for _ in range(2))
    model.train()
    for epoch in range(how.epochs):
        for batch, wanted in zip(torch.split(images, how.batch_size), torch.split(labels, how.batch_size), strict=True):
            with compute.autocast():
                logits = model(batch)
            slopes = torch.autograd.grad(divergence(logits, wanted, how.temperature), params)
            with torch.no_grad():
                sgd(
                    params,
                    list(slopes),
                    list(velocities),
                    weight_decay=how.weight_decay,
                    momentum=how.momentum,
                    lr=how.rate(epoch),
                    dampening=0.0,
                    nesterov=False,
                    maximize=False,
                )
        for mean, p in zip(means, params, strict=True):
            mean.lerp_(p.detach(), 1 / (epoch + 1))
    with torch.no_grad():
        for mean, p in zip(means, params, strict=True):
            p.copy_(mean)
    renew_statistics(model, torch.split(images, how.batch_size))


def divergence(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """T² KL(labels ‖ softmax(logits / T)), mean over the batch, of (B, classes) both."""
    student = F.log_softmax(logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, labels, reduction="batchmean")


@torch.no_grad()
def renew_statistics(model: nn.Module, batches: Sequence[Tensor]) -> None:
    """Make BatchNorm running statistics the plain mean over ``batches`` of what those have, in training mode."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for number, batch in enumerate(batches if norms else (), start=1):
        for norm in norms:
            norm.momentum = 1 / number  # the first takes the place of what was there
        model(batch)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
