"""small CNN for CPUs, GroupNorm, 0.2 M parameters

Three 3×3 convolutions and a 128-wide feature layer [ours]. GroupNorm (Wu & He, ECCV 2018) instead of BatchNorm: running
statistics of non-IID clients do not average well (Hsieh et al., ICML 2020, "The Non-IID Data Quagmire"), and a grid of
few rounds cannot wait for them to settle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from clipfed_bench.api import Classifier
from clipfed_bench.core.errors import UserError
from clipfed_bench.models import fused


@dataclass(frozen=True)
class Config:
    width: int = 16
    """Channels of the first convolution, a multiple of 8; the second and third have 2 and 4 times as many [ours]."""


class CNN(Classifier):
    """128 features."""

    config: Config
    # Chosen on CIFAR-10-LT by FedAvg's accuracy (docs/results.md). At ResNet-18's rate it stays at chance.
    lr = 0.01
    """[ours]"""
    batch_size = 16
    """[ours]"""
    warmup_rounds = 60
    """[ours]"""
    compiled = True

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(config, image_shape, num_classes)
        channels, height, width = image_shape
        if config.width < 8 or config.width % 8:
            raise UserError(f"model cnn: width is {config.width}; it must be a multiple of 8.")
        if min(height, width) < 8:
            raise UserError(f"model cnn: images of {height}×{width} are too small; 8×8 pixels are needed.")
        widths = [channels, config.width, 2 * config.width, 4 * config.width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.MaxPool2d(2),  # first, so that the rest is of a quarter of the values
                nn.ReLU(inplace=True),
                nn.GroupNorm(8, after),  # last: in few rounds it learns far more than before ReLU (docs/performance.md)
            ]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(widths[-1] * (height // 8) * (width // 8), 128)
        self.classifier = nn.Linear(128, num_classes)

    def features(self, images: Tensor) -> Tensor:
        if self.kernels == "numba" and self.config.width == 16 and fused.fits(images, self.hidden.weight):
            maps = fused.features(images, self.convolutions)
        else:
            maps = self.convolutions(images)
        return F.relu(self.hidden(maps.permute(0, 2, 3, 1).flatten(1)))  # as they lie in memory
