"""LeNet-5, without normalization, 0.06 M parameters

LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE 1998, section II-B: 5×5
convolutions with 6 and 16 maps, each halved, then layers of 120 and 84.

Deviations: ReLU, max pooling, full connections between maps, and a linear classifier, as is usual today. Images of
28×28 are padded to the 32×32 that the paper puts them on; other sizes change the layer of 120.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from clipfed_bench.api import Classifier
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    """No options."""


class LeNet5(Classifier):
    """84 features."""

    lr = 0.05
    """[ours]"""
    batch_size = 16
    """[ours]"""
    warmup_rounds = 0
    """[ours]"""

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(config, image_shape, num_classes)
        channels, height, width = image_shape
        if min(height, width) < 16:
            raise UserError(f"model lenet5: images of {height}×{width} are too small; 16×16 pixels are needed.")
        self.padding = 2 if (height, width) == (28, 28) else 0
        high, wide = (((side + 2 * self.padding - 4) // 2 - 4) // 2 for side in (height, width))
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=self.padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.hidden1 = nn.Linear(16 * high * wide, 120)
        self.hidden2 = nn.Linear(120, 84)
        self.classifier = nn.Linear(84, num_classes)

    def features(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.conv1(images)), 2)
        maps = F.max_pool2d(F.relu(self.conv2(maps)), 2)
        return F.relu(self.hidden2(F.relu(self.hidden1(maps.flatten(1)))))
