"""Between host and GPU. Copies to a GPU wait for nothing; whoever reads from one waits for all that it was asked.

A round reads where the host has to decide: whether all updates are finite, and what defenses cluster or rank on the
host. On a CPU nothing here costs anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

Figure = float | Tensor
"""A number that may still be on its way from a GPU: a tensor of one entry."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``; from the CPU to a GPU by pinned memory, so that the host goes on at once."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_host(tensor: Tensor) -> Tensor:
    """``tensor`` on the CPU, once a GPU is done with what came before."""
    return tensor.cpu()


def read(figures: Sequence[Figure]) -> list[float]:
    """All of them as floats; those on a GPU, which has to be one, are waited for together."""
    away = [figure.double().reshape(()) for figure in figures if is_away(figure)]
    values = iter(to_host(torch.stack(away)).tolist() if away else ())
    return [next(values) if is_away(figure) else float(figure) for figure in figures]


def is_away(figure: Figure) -> TypeGuard[Tensor]:
    """Whether its value is not on the host."""
    return isinstance(figure, Tensor) and figure.device.type != "cpu"


def on_device(order: Iterable[Tensor], device: torch.device) -> Iterable[Tensor]:
    """Index batches on ``device``; to a GPU all go at once."""
    if device.type == "cpu":
        return order
    parts = list(order)
    return torch.split(to_device(torch.cat(parts), device), [len(part) for part in parts])
