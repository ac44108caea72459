"""The weighted sum of client updates, which every cell takes, apart from the geometry that only some defenses need."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from clipfed_bench.toolbox.device import to_device


def weighted_sum(matrix: Tensor, weights: Tensor) -> Tensor:
    """``weights`` (K,) @ (K, P) ``matrix``: (P,) float32, also of a bfloat16 matrix, which is not copied whole."""
    weights = to_device(weights.float(), matrix.device)
    if matrix.dtype == torch.float32:
        return weights @ matrix
    return torch.cat([weights @ block.float() for block in blocks(matrix)])


def blocks(matrix: Tensor, least: int = 1) -> Iterator[Tensor]:
    """Views of all columns, as many at a time as fit into a CPU's cache or keep a GPU busy, but ``least`` or more."""
    entries = 1 << (18 if matrix.device.type == "cpu" else 24)
    yield from torch.split(matrix, max(least, entries // max(1, len(matrix))), dim=1)
