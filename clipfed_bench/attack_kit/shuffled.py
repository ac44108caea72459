"""The order in which an attacker that fits its trigger goes through its images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from clipfed_bench.api import AdaptContext
from clipfed_bench.toolbox.device import to_device


def batches(
    context: AdaptContext, images: Tensor, labels: Tensor, stream: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: (B, C, H, W) of ``images`` and (B,) of ``labels``, drawn from the CPU ``stream``."""
    order = to_device(torch.randperm(len(labels), generator=stream), labels.device)
    for index in torch.split(order, context.batch_size):
        yield images[index], labels[index]
