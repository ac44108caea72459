"""Local training of one client: which batches it trains on, and the step it takes on each.

McMahan et al. 2017, Algorithm 1, ClientUpdate; cross-entropy; SGD with momentum as torch.optim.SGD defines it (no
dampening, no Nesterov), its state fresh for every client and round [lineage]. No augmentation, no decay [lineage].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from clipfed_bench.api import GradientRule, Loss, ParameterRule
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.toolbox.device import on_device
from clipfed_bench.toolbox.images import Images, Normalizer
from clipfed_bench.toolbox.rng import generator

Poison = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(B, C, H, W) float32 in [0, 1] and (B,) int64 labels -> the batch to train on."""


@dataclass(frozen=True)
class Hyper:
    """Settings of local training."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float

    @classmethod
    def of(cls, spec: CellSpec) -> Hyper:
        """Those of a cell."""
        return cls(spec.local_epochs, spec.batch_size, spec.lr, spec.momentum, spec.weight_decay)


def batches(
    num_samples: int, hyper: Hyper, seed: int, round_: int, client: int, purpose: str = "batches"
) -> Iterator[Tensor]:
    """Index batches (int64) of all epochs; a client's draw depends on nothing but (seed, round, client)."""
    stream = generator(seed, purpose, round_, client)
    for _ in range(hyper.epochs):
        yield from torch.split(torch.randperm(num_samples, generator=stream), hyper.batch_size)


def batch_sizes(num_samples: int, hyper: Hyper) -> list[int]:
    """How many images each of :func:`batches` has."""
    full, rest = divmod(num_samples, hyper.batch_size)
    return ([hyper.batch_size] * full + [rest] * (rest > 0)) * hyper.epochs


@dataclass(frozen=True)
class Task:
    """One client's local training in one round."""

    data: Images
    order: Iterable[Tensor]
    """Index batches (int64, on the CPU), in the order in which they are trained on."""
    poison: Poison | None = None
    loss: Loss | None = None
    """In place of the cross-entropy."""
    rule: GradientRule | None = None
    after: ParameterRule | None = None
    """What is done to the parameters after each step."""


def train_batches(task: Task, normalize: Normalizer) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, C, H, W) float32 pixels in [0, 1] and (B,) int64 labels of each step, poisoned if the client is malicious."""
    for index in on_device(task.order, task.data.labels.device):
        batch = task.data.take(index)
        pixels, labels = normalize.pixels(batch.images), batch.labels
        yield (pixels, labels) if task.poison is None else task.poison(pixels, labels)


def sgd_step(params: Tensor, grad: Tensor, velocity: Tensor, hyper: Hyper) -> None:
    """One SGD step on flat (P,) vectors, in place; leaves ``grad`` zeroed for the next backward."""
    if hyper.weight_decay:
        grad.add_(params, alpha=hyper.weight_decay)
    velocity.mul_(hyper.momentum).add_(grad)
    params.add_(velocity, alpha=-hyper.lr)
    grad.zero_()


def fused_sgd_step(params: list[Tensor], grads: list[Tensor], velocities: list[Tensor], hyper: Hyper) -> None:
    """The same step on all tensors in one pass over memory, in place; ``grads`` stay as they are."""
    with torch.no_grad():
        sgd(
            params,
            grads,
            list(velocities),
            fused=True,
            weight_decay=hyper.weight_decay,
            momentum=hyper.momentum,
            lr=hyper.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
