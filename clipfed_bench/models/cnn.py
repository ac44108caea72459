"""A small CNN for machines without a GPU: three 3×3 convolutions and a 128-wide feature layer [ours].

GroupNorm (Wu & He, ECCV 2018) instead of BatchNorm: running statistics of non-IID clients do not average well (Hsieh et
al., ICML 2020, "The Non-IID Data Quagmire"), and a grid of few rounds cannot wait for them to settle.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
                nn.GroupNorm(8, after),
                nn.MaxPool2d(2),
                nn.ReLU(inplace=True),  # after the pooling, of a quarter of the values: the same numbers to the bit
            ]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(self.WIDTHS[-1] * 4 * 4, 128)
        self.classifier = nn.Linear(128, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return F.relu(self.hidden(torch.flatten(self.convolutions(images), 1)))
