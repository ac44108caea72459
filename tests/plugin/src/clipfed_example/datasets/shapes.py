"""Shapes: gray disks, squares, diamonds and crosses of random place, size and brightness, drawn when they are needed.

Every image is drawn from a stream of its own split, so that the server's images are no client's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipfed_bench.api import DataSource
from clipfed_bench.core.splits import Split

SIDE = 28


class Shapes(DataSource):
    classes = ("disk", "square", "diamond", "cross")
    image_shape = (1, 28, 28)
    train_per_class = 60
    test_per_class = 20
    captions = ("a picture of a {}.", "a {} on a plain ground.")
    teacher = "local"

    def load(self, folder: Path) -> tuple[Split, Split]:
        return _draw(self.train_per_class, 0), _draw(self.test_per_class, 1)

    def generated(self, folder: Path) -> Split:
        return _draw(30, 2)


def _draw(per_class: int, stream: int) -> Split:
    """Images uint8 (N, 1, 28, 28) and labels int64 (N,)."""
    draw = np.random.default_rng([2026, stream])
    labels = np.repeat(np.arange(len(Shapes.classes)), per_class)
    return Split(np.stack([_image(label, draw) for label in labels]), labels)


def _image(label: int, draw: np.random.Generator) -> np.ndarray:
    radius = draw.integers(5, 10)
    row, col = draw.integers(radius, SIDE - radius, 2)
    ground, shade = draw.integers(0, 100), draw.integers(120, 220)
    down, right = np.abs(np.arange(SIDE) - row)[:, None], np.abs(np.arange(SIDE) - col)[None, :]
    inside = (
        down**2 + right**2 <= radius**2,
        np.maximum(down, right) <= 0.8 * radius,
        down + right <= radius,
        (np.minimum(down, right) <= radius / 4) & (np.maximum(down, right) <= radius),
    )[label]
    image = np.where(inside, shade, ground)[None]
    return (image + draw.integers(0, 30, image.shape)).astype(np.uint8)
