"""open_clip's preprocessing, done on whole tensor batches on the device instead of image by image with PIL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from clipfed_bench.core.errors import TeacherError


@dataclass(frozen=True)
class Preprocess:
    """Resize and normalize as a model's open_clip preprocess configuration says."""

    size: tuple[int, int]
    """(height, width) of the model's input, pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of pixels in [0, 1]."""
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    """``shortest``: the shorter side, then a center crop; ``squash``: both sides."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Preprocess:
        """From open_clip's dictionary.

        Raises TeacherError for a resize mode that is not implemented here (``longest``).
        """
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        mode = config.get("resize_mode") or "shortest"
        if mode not in ("shortest", "squash"):
            raise TeacherError(f"the teacher's resize mode '{mode}' is not supported; shortest and squash are.")
        return cls((height, width), tuple(config["mean"]), tuple(config["std"]), config["interpolation"], mode)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> (B, 3, *size) float32, normalized.

        The interpolation overshoots at edges; PIL clips there when it rounds to 8 bits, so this clips too.
        """
        height, width = self.size
        mode = tv.InterpolationMode(self.interpolation)
        if images.shape[-2:] != (height, width):
            images = tv.resize(images, self._resized(*images.shape[-2:]), mode, antialias=True).clamp(0.0, 1.0)
            images = tv.center_crop(images, [height, width])
        mean, std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return (images - mean) / std

    def _resized(self, rows: int, columns: int) -> list[int]:
        """Argument of torchvision's resize; one number means the shorter side, which open_clip gives it too."""
        height, width = self.size
        if self.resize_mode == "squash":
            return [height, width]
        if height == width:
            return [height]
        factor = max(height / rows, width / columns)
        return [round(rows * factor), round(columns * factor)]


def unit_range(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]; float images as they are, as float32."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
