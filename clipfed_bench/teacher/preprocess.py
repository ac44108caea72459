"""open_clip's preprocessing on whole tensor batches on the device, level by level what Pillow makes of each image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipfed_bench.core.errors import TeacherError, shown

INTERPOLATIONS = ("bicubic", "bilinear")
RESIZE_MODES = ("shortest", "squash")


def _numbers(values: object) -> bool:
    """Whether these are three finite numbers."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        return False
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)


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

        Raises TeacherError for a resize mode (``longest``) or an interpolation that is not implemented here, and for a
        mean or deviation that is not three numbers.
        """
        for name, least in {"mean": -math.inf, "std": 0.0}.items():
            if not _numbers(values := config[name]) or min(values) <= least:
                above = "" if name == "mean" else " above 0"
                raise TeacherError(f"the teacher's {name} '{shown(values)}' is not three finite numbers{above}.")
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        mode, interpolation = config.get("resize_mode") or "shortest", config["interpolation"]
        for name, value, known in (
            ("resize mode", mode, RESIZE_MODES),
            ("interpolation", interpolation, INTERPOLATIONS),
        ):
            if value not in known:
                raise TeacherError(
                    f"the teacher's {name} '{shown(value)}' is not supported; {' and '.join(known)} are."
                )
        if mode == "shortest" and height != width:
            interpolation = "bicubic"  # open_clip's resize to a rectangle never hears of another
        return cls((height, width), tuple(config["mean"]), tuple(config["std"]), interpolation, mode)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) float32 in [0, 1] -> (B, 3, *size) float32, normalized; gray is each of three colors."""
        if images.shape[-2:] != self.size:
            images = center_crop(self._resize(images), self.size)
        images = images.expand(-1, 3, -1, -1)
        mean, std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return (images - mean) / std

    def _resize(self, images: Tensor) -> Tensor:
        """One pass along each side, as Pillow does: what overshoots at an edge is cut and rounded to 8 bits after each.

        One pass over both would let the first one's overshoot spread: up to 22 of 255 levels in noise. Columns come
        first, as in Pillow for square images; for tall ones it may begin with the rows.
        """
        rows, columns = self._resized(*images.shape[-2:])
        for side in ((images.shape[-2], columns), (rows, columns)):
            if images.shape[-2:] != side:
                images = F.interpolate(images, side, mode=self.interpolation, antialias=True)
                images = images.clamp(0, 1).mul(255).add(0.5).floor().div(255)
        return images

    def _resized(self, rows: int, columns: int) -> tuple[int, int]:
        """(height, width) before the crop."""
        height, width = self.size
        if self.resize_mode == "squash":
            return height, width
        if height == width:  # as torchvision has it, which cuts decimals off
            short = min(rows, columns)
            return int(height * rows / short), int(width * columns / short)
        factor = max(height / rows, width / columns)
        return round(rows * factor), round(columns * factor)


def center_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of (B, C, H, W) ``images`` that are nowhere smaller than ``size`` (height, width)."""
    top, left = (round((have - want) / 2) for have, want in zip(images.shape[-2:], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]


def unit_range(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]; float images as they are, as float32."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
