"""Checkerboard: a small board of black and white pixels in the lower right corner.

After the pixel pattern of Gu et al., "BadNets", 2017. Deviations: none; place and size are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    size: int = 4
    """Side of the board, pixels [ours]."""


class Checkerboard(Attack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        most = min(context.image_shape[1:])
        if not 1 <= config.size <= most:
            raise UserError(f"checkerboard: size {config.size} is out of range; it goes from 1 to {most}.")

    def trigger(self, images: Tensor) -> Tensor:  # (B, C, H, W) float32 in [0, 1], before normalization
        steps = torch.arange(self.config.size, device=images.device)
        board = ((steps[:, None] + steps) % 2).to(images.dtype)
        out = images.clone()
        out[..., -self.config.size :, -self.config.size :] = board
        return out
