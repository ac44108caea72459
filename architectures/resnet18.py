"""ResNet-18 for 32×32 images, BatchNorm, 11.2 M parameters (the paper's)

A 3×3 stem without pooling; 11,173,962 parameters at 10 classes.
He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2 (stem) with ResNet-18's stages, as is
usual on CIFAR and in the CLIP-Fed lineage.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from clipfed_bench.api import Classifier


@dataclass(frozen=True)
class Config:
    """No options."""


class Block(nn.Module):
    """Two 3×3 convolutions with BatchNorm and an identity or 1×1 shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet18(Classifier):
    """512 features."""

    lr = 0.1
    """[lineage]"""
    batch_size = 64
    """[lineage]"""
    warmup_rounds = 0
    """[lineage]"""

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(config, image_shape, num_classes)
        self.stem = nn.Sequential(nn.Conv2d(image_shape[0], 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        widths = [64, 64, 128, 256, 512]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(Block(before, after, 1 if i == 0 else 2), Block(after, after, 1))
                for i, (before, after) in enumerate(pairwise(widths))
            )
        )
        self.classifier = nn.Linear(512, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.stages(self.stem(images)).mean(dim=(2, 3))  # type: ignore[no-any-return]
