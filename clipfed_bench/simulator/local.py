"""Local training of one client: plain SGD from the global model, in place in the client's row of the update matrix.

McMahan et al. 2017, Algorithm 1, ClientUpdate; cross-entropy; SGD with momentum as torch.optim.SGD defines it (no
dampening, no Nesterov), its state fresh for every client and round [lineage]. No augmentation, no decay [lineage].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipfed_bench.api import GradientRule
from clipfed_bench.data.types import Images
from clipfed_bench.rng import generator
from clipfed_bench.simulator.params import FlatModel

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


class Normalizer:
    """uint8 images -> float32 in [0, 1] -> normalized, in channels_last, on the device of the images."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device | str = "cpu") -> None:
        self.mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, device=device).view(1, -1, 1, 1)

    def pixels(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 -> float32 in [0, 1]."""
        return images.contiguous(memory_format=torch.channels_last).float().div_(255)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [0, 1] -> normalized."""
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def batches(
    num_samples: int, hyper: Hyper, seed: int, round_: int, client: int, purpose: str = "batches"
) -> Iterator[Tensor]:
    """Index batches (int64) of all epochs; a client's draw depends on nothing but (seed, round, client)."""
    stream = generator(seed, purpose, round_, client)
    for _ in range(hyper.epochs):
        yield from torch.split(torch.randperm(num_samples, generator=stream), hyper.batch_size)


def train_client(
    flat: FlatModel,
    data: Images,
    order: Iterator[Tensor],
    normalize: Normalizer,
    hyper: Hyper,
    poison: Poison | None,
    rule: GradientRule | None = None,
) -> None:
    """Train the model that ``flat`` is bound to, in place, on ``data`` in the given ``order`` of batches."""
    flat.model.train()
    flat.grad.zero_()
    velocity = torch.zeros_like(flat.grad)
    for index in order:
        batch = data.take(index.to(data.labels.device))
        pixels, labels = normalize.pixels(batch.images), batch.labels
        if poison is not None:
            pixels, labels = poison(pixels, labels)
        F.cross_entropy(flat.model(normalize(pixels)), labels).backward()  # type: ignore[no-untyped-call]
        if rule is not None:
            flat.grad.copy_(rule(flat.grad, flat.params))
        sgd_step(flat.params, flat.grad, velocity, hyper)


def sgd_step(params: Tensor, grad: Tensor, velocity: Tensor, hyper: Hyper) -> None:
    """One SGD step on flat (P,) vectors, in place; leaves ``grad`` zeroed for the next backward."""
    if hyper.weight_decay:
        grad.add_(params, alpha=hyper.weight_decay)
    velocity.mul_(hyper.momentum).add_(grad)
    params.add_(velocity, alpha=-hyper.lr)
    grad.zero_()
