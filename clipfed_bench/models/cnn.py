"""A small CNN for machines without a GPU: three 3×3 convolutions and a 128-wide feature layer [ours].

GroupNorm (Wu & He, ECCV 2018) instead of BatchNorm: running statistics of non-IID clients do not average well (Hsieh et
al., ICML 2020, "The Non-IID Data Quagmire"), and a grid of few rounds cannot wait for them to settle.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from clipfed_bench.models import fused
from clipfed_bench.models.base import Classifier


class CNN(Classifier):
    """128 features."""

    WIDTHS = (16, 32, 64)

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *self.WIDTHS), self.WIDTHS, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.MaxPool2d(2),  # first, so that the rest is of a quarter of the values
                nn.ReLU(inplace=True),
                nn.GroupNorm(8, after),  # last: in few rounds it learns far more than before ReLU (docs/performance.md)
            ]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(self.WIDTHS[-1] * 4 * 4, 128)
        self.classifier = nn.Linear(128, num_classes)

    def features(self, images: Tensor) -> Tensor:
        if self.kernels == "numba" and fused.fits(images, self.hidden.weight):
            maps = fused.features(images, self.convolutions)
        else:
            maps = self.convolutions(images)
        return F.relu(self.hidden(maps.permute(0, 2, 3, 1).flatten(1)))  # as they lie in memory
