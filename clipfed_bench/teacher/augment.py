"""Augmentation of whole training batches on the device; all draws come from one CPU generator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clipfed_bench.teacher.recipe import Recipe


def augment(images: Tensor, recipe: Recipe, random: torch.Generator) -> Tensor:
    """Crop, mirror, recolor and cut out, as ``recipe`` says: (B, C, H, W) float32 in [0, 1] -> the same."""
    if recipe.crop:
        images = shifted(images, recipe.crop, random)
    if recipe.flip:
        mirror = torch.rand(len(images), 1, 1, 1, generator=random) < 0.5
        images = torch.where(mirror.to(images.device), images.flip(-1), images)
    if recipe.jitter:
        images = recolored(images, recipe.jitter, random)
    if recipe.cutout:
        images = cut_out(images, recipe.cutout, random)
    return images


def shifted(images: Tensor, pixels: int, random: torch.Generator) -> Tensor:
    """Each image moved by up to ``pixels`` in both directions, the gap filled by reflection."""
    count, channels, height, width = images.shape
    top, left = torch.randint(0, 2 * pixels + 1, (2, count, 1), generator=random).to(images.device)
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (left + torch.arange(width, device=images.device))[:, None, None, :]
    image = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[:, None, None]
    return F.pad(images, (pixels,) * 4, mode="reflect")[image, channel, rows, columns]


def recolored(images: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation times a factor from [1 - strength, 1 + strength], each drawn per image;
    grayscale with probability strength / 4."""
    draws = torch.rand(4, len(images), 1, 1, 1, generator=random).to(images.device)
    brightness, contrast, saturation = 1 + strength * (2 * draws[:3] - 1)
    images = images * brightness
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * contrast
    gray = images.mean(1, keepdim=True)
    saturation = torch.where(draws[3] < strength / 4, 0.0, saturation)
    return (gray + (images - gray) * saturation).clamp(0.0, 1.0)


def cut_out(images: Tensor, side: int, random: torch.Generator) -> Tensor:
    """A gray square of ``side`` pixels around a random pixel of each image (DeVries and Taylor, 2017)."""
    count, _, height, width = images.shape
    draws = torch.rand(2, count, 1, generator=random).to(images.device)
    rows = torch.arange(height, device=images.device) - (draws[0] * height).floor() + side // 2
    columns = torch.arange(width, device=images.device) - (draws[1] * width).floor() + side // 2
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return images.masked_fill(inside[:, None], 0.5)
