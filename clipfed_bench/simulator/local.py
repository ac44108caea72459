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

from clipfed_bench.api import GradientRule
from clipfed_bench.data.types import Images
from clipfed_bench.rng import generator
from clipfed_bench.transfer import to_device

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
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}

    def pixels(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 -> float32 in [0, 1]."""
        return images.contiguous(memory_format=torch.channels_last).float().div_(255)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [0, 1] -> normalized."""
        if pixels.is_cuda:
            return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        # Rows of W·C values instead of C: the same arithmetic on each value, in loops that a CPU is fast in.
        images = pixels.permute(0, 2, 3, 1).contiguous()
        width = images.shape[2]
        if width not in self._rows:
            self._rows[width] = self.mean.flatten().repeat(width), self.std.flatten().repeat(width)
        mean, std = self._rows[width]
        return ((images.flatten(2) - mean) / std).view(images.shape).permute(0, 3, 1, 2)


def batches(
    num_samples: int, hyper: Hyper, seed: int, round_: int, client: int, purpose: str = "batches"
) -> Iterator[Tensor]:
    """Index batches (int64) of all epochs; a client's draw depends on nothing but (seed, round, client)."""
    stream = generator(seed, purpose, round_, client)
    for _ in range(hyper.epochs):
        yield from torch.split(torch.randperm(num_samples, generator=stream), hyper.batch_size)


@dataclass(frozen=True)
class Task:
    """One client's local training in one round."""

    data: Images
    order: Iterable[Tensor]
    """Index batches (int64, on the CPU), in the order in which they are trained on."""
    poison: Poison | None = None
    rule: GradientRule | None = None


def train_batches(task: Task, normalize: Normalizer) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, C, H, W) float32 pixels in [0, 1] and (B,) int64 labels of each step, poisoned if the client is malicious."""
    for index in on_device(task.order, task.data.labels.device):
        batch = task.data.take(index)
        pixels, labels = normalize.pixels(batch.images), batch.labels
        yield (pixels, labels) if task.poison is None else task.poison(pixels, labels)


def on_device(order: Iterable[Tensor], device: torch.device) -> Iterable[Tensor]:
    """Index batches on ``device``; to a GPU all go at once."""
    if device.type == "cpu":
        return order
    parts = list(order)
    return torch.split(to_device(torch.cat(parts), device), [len(part) for part in parts])


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
