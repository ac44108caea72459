"""Blend: a faint full-image pattern mixed into every pixel.

Chen et al., "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning", 2017, blended injection:
x' = (1 - a) x + a pattern. Deviations: one ratio for training and test (the paper tests with a stronger one). The
pattern is seeded uniform noise, the paper's "random pattern", or an image file; it follows the size of the data, so
that images of any size work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.toolbox.triggers import DeviceConstant, check_share, pattern


@dataclass(frozen=True)
class Config:
    ratio: float = 0.2
    """Share a of the pattern in the mix, 0 to 1 [paper: Chen 2017]."""
    image: str | None = None
    """Image file to mix in, resized to the data's size; none: seeded noise [ours]."""
    seed: int = 0
    """Seed of the noise [ours]."""
    per_seed: bool = False
    """Draw another pattern for each seed of the cells; false: all cells share one [ours]."""


class Blend(Attack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_share("blend", "ratio", config.ratio)
        seeds = (config.seed, context.seed) if config.per_seed else (config.seed,)
        self._pattern = DeviceConstant(pattern("blend", config.image, context.image_shape, seeds, grain=1))

    def trigger(self, images: Tensor) -> Tensor:
        return torch.lerp(images, self._pattern.on(images.device), self.config.ratio)
