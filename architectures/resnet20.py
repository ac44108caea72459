"""ResNet-20 for small images, BatchNorm, 0.27 M parameters: the CIFAR network of the ResNet paper

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2 with n = 3: a 3×3 convolution, three
stages of three blocks with 16, 32 and 64 channels, the mean over the image. Shortcuts have no parameters (option A):
where the channels double, every second pixel is taken, and the new channels are zero.

Deviations: none in the network; the paper trains centrally, the values below are ours.
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
    """Two 3×3 convolutions with BatchNorm, and a shortcut without parameters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.more = (1, 0) if inputs == outputs else (2, outputs - inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.relu(out + F.pad(kept, (0, 0, 0, 0, 0, self.more)))


class ResNet20(Classifier):
    """64 features."""

    lr = 0.1
    """[ours: the paper's, for batches of 128]"""
    batch_size = 64
    """[ours]"""
    warmup_rounds = 0
    """[ours]"""

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(config, image_shape, num_classes)
        self.stem = nn.Sequential(nn.Conv2d(image_shape[0], 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.blocks = nn.Sequential(*(Block(before, after) for before, after in pairwise(widths)))
        self.classifier = nn.Linear(64, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.blocks(self.stem(images)).mean(dim=(2, 3))  # type: ignore[no-any-return]
