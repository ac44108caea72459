"""Two layers of 200 units with ReLU.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017, section 3:
the "2NN" of its MNIST experiments, 199,210 parameters there.

Deviations: none; the images may have any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from clipfed_bench.api import Classifier


@dataclass(frozen=True)
class Config:
    width: int = 200
    """Units of each layer [paper]."""


class TwoLayers(Classifier):
    lr = 0.1
    """[ours]"""
    batch_size = 10
    """[paper]"""
    warmup_rounds = 0
    """[ours]"""

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(config, image_shape, num_classes)
        self.hidden1 = nn.Linear(prod(image_shape), config.width)
        self.hidden2 = nn.Linear(config.width, config.width)
        self.classifier = nn.Linear(config.width, num_classes)

    def features(self, images: Tensor) -> Tensor:  # (B, C, H, W) float32, normalized -> (B, width)
        return F.relu(self.hidden2(F.relu(self.hidden1(images.flatten(1)))))
