"""Images in memory: uint8 arrays that live on one device for a whole process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Labelled images."""

    images: Tensor
    """(N, C, H, W) uint8."""
    labels: Tensor
    """(N,) int64."""
    writers: Tensor | None = None
    """(N,) int64, on the CPU: who made each image, of training images of data sets that say so."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> Images:
        """The images at ``index`` (int64), in that order."""
        writers = None if self.writers is None else self.writers[index.cpu()]
        pixels = self.images.permute(0, 2, 3, 1)
        if not pixels.is_contiguous():
            return Images(self.images[index], self.labels[index], writers)
        # Whole images are copied, not one value after the other.
        return Images(pixels.index_select(0, index).permute(0, 3, 1, 2), self.labels[index], writers)


@dataclass(frozen=True)
class Shares(Sequence[Images]):
    """Parts of ``whole``, each taken when it is asked for: what clients hold is no second copy of the data set."""

    whole: Images
    parts: Sequence[Tensor]
    """(N_k,) int64 each."""

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, k: int) -> Images: ...
    @overload
    def __getitem__(self, k: slice) -> Shares: ...
    def __getitem__(self, k: int | slice) -> Images | Shares:
        return Shares(self.whole, self.parts[k]) if isinstance(k, slice) else self.whole.take(self.parts[k])


@dataclass(frozen=True)
class Dataset:
    """A data set as a cell uses it: the long tail is already cut, nothing is partitioned yet."""

    name: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    mean: tuple[float, ...]
    """(C,): of the balanced original's training pixels in [0, 1]."""
    std: tuple[float, ...]
    source: str
    """Provenance: where it was read from (kind of source) and a content hash."""
    discarded: Images | None = None
    """Training images that the long tail leaves out; nobody holds them, so ``holdout`` server data takes them first."""


@dataclass(frozen=True, eq=False)
class ServerData:
    """The server's data set D_s: labelled images with captions, none of them any client's. Equal to itself alone."""

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


class Normalizer:
    """uint8 images -> float32 in [0, 1] -> normalized, in channels_last, on the device of the images."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device | str = "cpu") -> None:
        self.mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(std, device=device).view(1, -1, 1, 1)
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}

    def pixels(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 -> float32 in [0, 1]."""
        return images.contiguous(memory_format=torch.channels_last).float().div_(255)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [0, 1] -> normalized."""
        if pixels.is_cuda:
            return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        # Rows of W·C values instead of C: the same arithmetic on each value, in loops that a CPU is fast in.
        images = pixels.permute(0, 2, 3, 1).contiguous()
        width = images.shape[2]
        if width not in self._rows:
            self._rows[width] = self.mean.flatten().repeat(width), self.std.flatten().repeat(width)
        mean, std = self._rows[width]
        return (images.flatten(2) - mean).div_(std).view(images.shape).permute(0, 3, 1, 2)
