"""VGG-11 for small images, BatchNorm, 9.2 M parameters

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, configuration A,
with BatchNorm after each convolution (Ioffe & Szegedy, ICML 2015).

Deviations: as is usual on small images, one linear layer on the mean over the image stands for the paper's three, and
images of fewer than 32 pixels are halved less often.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from clipfed_bench.api import Classifier


@dataclass(frozen=True)
class Config:
    """No options."""


class VGG11(Classifier):
    """512 features."""

    lr = 0.05
    """[ours]"""
    batch_size = 64
    """[ours]"""
    warmup_rounds = 0
    """[ours]"""

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(config, image_shape, num_classes)
        before, side = image_shape[0], min(image_shape[1:])
        layers: list[nn.Module] = []
        for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
            for after in stage:
                layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
                before = after
            if side > 1:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        self.convolutions = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.convolutions(images).mean(dim=(2, 3))  # type: ignore[no-any-return]
