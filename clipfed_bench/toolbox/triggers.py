"""What triggers are made of: painted rectangles, and full-image patterns from a seed or from an image file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipfed_bench.core.errors import DamagedFileError, UserError
from clipfed_bench.core.image_files import FORMATS, as_rgb, opened
from clipfed_bench.toolbox.rng import generator


class DeviceConstant:
    """A tensor made once on the CPU and copied to each device at most once, so that no batch pays for a copy."""

    def __init__(self, value: Tensor) -> None:
        self._copies = {value.device: value}
        self._value = value

    def on(self, device: torch.device) -> Tensor:
        """The tensor on ``device``. Shared: do not write to it."""
        if device not in self._copies:
            # The host waits, once: clients train on streams side by side, and another one's may ask for it next.
            self._copies[device] = self._value.to(device)
        return self._copies[device]


def paint(images: Tensor, rows: slice, cols: slice, value: float) -> Tensor:
    """A copy of ``images`` (..., H, W) whose pixels at ``rows`` × ``cols`` are ``value`` in all channels."""
    out = images.clone()
    out[..., rows, cols] = value
    return out


CORNER = 27
"""Where the lineage's square of 5 × 5 begins in rows and columns, in the corner of 32 × 32 pixels."""


def cornered(start: int, side: int) -> int:
    """``start``; but :data:`CORNER` stands for the same place from the far edge in images of another ``side``."""
    return start + side - 32 if start == CORNER else start


def check_square(attack: str, size: int, row: int, col: int, value: float, shape: tuple[int, int, int]) -> None:
    """Raise :class:`UserError` unless the square lies inside images of ``shape`` (C, H, W) and ``value`` in [0, 1]."""
    _, height, width = shape
    if not 1 <= size <= min(height, width):
        raise UserError(
            f"{attack}: size {size} does not fit; in {height}×{width} images it is 1 to {min(height, width)}."
        )
    for name, start, side in (("row", row, height), ("col", col, width)):
        if not 0 <= start <= side - size:
            raise UserError(
                f"{attack}: a square of size {size} at {name} {start} leaves the image of {height}×{width} pixels; "
                f"{name} is 0 to {side - size}."
            )
    if not 0.0 <= value <= 1.0:
        raise UserError(f"{attack}: value {value} is not a pixel value; it is 0 (black) to 1 (white).")


def check_share(attack: str, name: str, value: float, most: float = 1.0) -> None:
    """Raise :class:`UserError` unless ``0 <= value <= most``."""
    if not 0.0 <= value <= most:
        raise UserError(f"{attack}: {name} {value} is out of range; it is 0 to {most:g}.")


def pattern(attack: str, image: str | None, shape: tuple[int, int, int], seeds: tuple[int, ...], grain: int) -> Tensor:
    """A full-image pattern of ``shape`` (C, H, W), float32 in [0, 1], on the CPU.

    It is the file ``image`` resized to the data's size, or, if that is None, :func:`mosaic`.
    """
    return mosaic(shape, seeds, grain) if image is None else read_image(attack, image, shape)


def mosaic(shape: tuple[int, int, int], seeds: tuple[int, ...], grain: int = 1) -> Tensor:
    """Squares of ``grain`` × ``grain`` pixels, each of a uniformly random color; grain 1 is noise.

    float32 in [0, 1), (C, H, W). The same ``seeds`` give the same pattern everywhere.
    """
    channels, height, width = shape
    seed, *index = seeds
    colors = torch.rand(channels, -(-height // grain), -(-width // grain), generator=generator(seed, "pattern", *index))
    whole = colors.repeat_interleave(grain, dim=1).repeat_interleave(grain, dim=2)
    return whole[:, :height, :width].contiguous()


def read_image(attack: str, path: str, shape: tuple[int, int, int]) -> Tensor:
    """The image file at ``path`` as ``shape`` (1 or 3, H, W), float32 in [0, 1], resized (bicubic) where it differs.

    Raises :class:`UserError` if it cannot be read as an image.
    """
    channels, height, width = shape
    try:
        with opened(Path(path)) as file:
            picture = as_rgb(file).convert("L" if channels == 1 else "RGB")
    except DamagedFileError as error:
        raise UserError(
            f"{attack}: image '{path}' cannot be read ({error}); give an image file ({', '.join(FORMATS)}), "
            "or leave the option out for the seeded pattern."
        ) from error
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(picture)).view(height, width, channels)
    return pixels.permute(2, 0, 1).contiguous().float() / 255
