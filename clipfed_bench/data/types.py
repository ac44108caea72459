"""Images in memory: uint8 arrays that live on one device for a whole process."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Labelled images."""

    images: Tensor
    """(N, 3, H, W) uint8."""
    labels: Tensor
    """(N,) int64."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Images:
        """The images at ``index`` (int64), in that order."""
        pixels = self.images.permute(0, 2, 3, 1)
        if not pixels.is_contiguous():
            return Images(self.images[index], self.labels[index])
        # Whole images are copied, not one value after the other.
        return Images(pixels.index_select(0, index).permute(0, 3, 1, 2), self.labels[index])


@dataclass(frozen=True)
class Dataset:
    """A data set as a cell uses it: the long tail is already cut, nothing is partitioned yet."""

    name: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    mean: tuple[float, float, float]
    """Of the balanced original's training pixels in [0, 1]."""
    std: tuple[float, float, float]
    source: str
    """Provenance: where it was read from (kind of source) and a content hash."""
    discarded: Images | None = None
    """Training images that the long tail leaves out; nobody holds them, so ``holdout`` server data takes them first."""


@dataclass(frozen=True)
class ServerData:
    """The server's data set D_s: labelled images with captions, none of them any client's."""

    data: Images
    captions: tuple[str, ...]
    label: str
    """What tables call it, e.g. ``generated`` or ``holdout:100 (upper bound)``."""
    content_hash: str
    """sha256 of images, labels and captions; the key of cached teacher features."""


def image_shape(images: Tensor) -> tuple[int, int, int]:
    """(C, H, W) of (N, C, H, W) images."""
    _, channels, height, width = images.shape
    return channels, height, width
