"""How a local teacher is trained: a torch-free description, so that specs can be checked without importing torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from clipfed_bench.core.errors import TeacherError, unknown
from clipfed_bench.core.values import convert
from clipfed_bench.data.class_names import DIGITS

TEXT_TOWER = {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}
"""CLIP's text transformer, made small: captions of few classes are all that it reads [ours]."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW, one-cycle, 20 % warm-up, cosine down to 0 [ours]."""

    epochs: int
    batch_size: int
    lr: float
    """At its peak."""
    weight_decay: float
    """Of matrices and kernels; never of biases, norms and the logit scale."""
    seed: int


@dataclass(frozen=True)
class Recipe:
    """Training of :func:`clipfed_bench.teacher.train.train_teacher`. All defaults are [ours]."""

    epochs: int | None = None
    """Passes over the training share of the server data, >= 1; none: 8 to 100, some 32,000 images in all [ours]."""
    batch_size: int | None = None
    """Images of a batch, >= 2; none: 128, or an eighth of the images where that is less [ours]."""
    lr: float = 2e-3
    """Peak learning rate of AdamW, one-cycle (20 % warm-up, cosine down to 0) [ours]."""
    weight_decay: float = 0.05
    """Of matrices and kernels; never of biases, norms and the logit scale [ours]."""
    width: int = 16
    """Width of the ResNet image tower, a multiple of 2 up to 256 [ours]."""
    depth: int = 2
    """Bottleneck blocks in each of its four stages, 1 to 50 [ours]."""
    image_size: int | None = None
    """Input side of the image tower, a multiple of 32, images are resized to it; none: 64, digits 32 [ours]."""
    crop: int = 4
    """Random crops out of images padded by that many pixels (mirrored), 0 for none, up to 31 [ours]."""
    flip: bool | None = None
    """Mirror half of the images; none: unless the classes are digits [ours]."""
    jitter: float = 0.0
    """Strength in [0, 1) of random brightness, contrast, saturation and (quarter as often) grayscale [ours]."""
    cutout: int = 0
    """Side of a random gray square in pixels, 0 for none [ours]."""
    holdout: float = 0.1
    """Share of each class held out to measure zero-shot accuracy, in (0, 0.5] [ours]."""
    seed: int = 0
    """Of initialization, split, batches and augmentation [ours]."""

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, convert(getattr(self, f.name), str(f.type), f"local teacher: {f.name}"))
        checks = {
            "epochs": (self.epochs is None or 1 <= self.epochs <= 1_000_000, "from 1 to 1,000,000"),
            "batch_size": (self.batch_size is None or self.batch_size >= 2, "at least 2"),
            "lr": (0 < self.lr <= 10, "above 0, up to 10"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "width": (self.width in range(2, 257, 2), "a multiple of 2 from 2 to 256"),
            "depth": (1 <= self.depth <= 50, "from 1 to 50"),
            "image_size": (self.image_size in (None, *range(32, 1025, 32)), "a multiple of 32 up to 1024"),
            "crop": (0 <= self.crop < 32, "from 0 to 31, less than an image has pixels"),
            "jitter": (0 <= self.jitter < 1, "in [0, 1)"),
            "cutout": (self.cutout >= 0, "at least 0"),
            "holdout": (0 < self.holdout <= 0.5, "in (0, 0.5]"),
            "seed": (self.seed >= 0, "at least 0"),
        }
        for name, (good, right) in checks.items():
            if not good:
                raise TeacherError(f"local teacher: {name} {getattr(self, name)} is out of range; it must be {right}.")

    def resolved(self, classes: Sequence[str], images: int) -> Recipe:
        """With what is left open (None) chosen for these classes and this number of server images."""
        digits = all(name in DIGITS or name.isdigit() for name in classes)
        return replace(
            self,
            epochs=self.epochs or max(8, min(100, 32_000 // max(images, 1))),
            batch_size=self.batch_size or max(2, min(128, images // 8)),
            flip=not digits if self.flip is None else self.flip,
            image_size=self.image_size or (32 if digits else 64),
        )

    def schedule(self) -> Schedule:
        """Of a resolved recipe."""
        assert self.epochs is not None
        assert self.batch_size is not None
        return Schedule(self.epochs, self.batch_size, self.lr, self.weight_decay, self.seed)

    @property
    def model_name(self) -> str:
        """Name of the open_clip configuration of this architecture; of a resolved recipe."""
        return f"clipfed-rn{self.depth}-w{self.width}-{self.image_size}"

    def model_config(self) -> dict[str, Any]:
        """The open_clip configuration: CLIP's ResNet and text transformer, made small.

        The stem halves the side twice and three stages halve it again, so 32×32 photos are enlarged to 64: then the
        stem convolves at their own resolution. Attention heads have 64 channels, or all where there are fewer. Of a
        resolved recipe.
        """
        width = 32 * self.width
        return {
            "embed_dim": 256,
            "vision_cfg": {
                "image_size": self.image_size,
                "layers": [self.depth] * 4,
                "width": self.width,
                "head_width": 64 if width % 64 == 0 else width,
            },
            "text_cfg": dict(TEXT_TOWER),
        }


def recipe(options: Mapping[str, Any]) -> Recipe:
    """The recipe with ``options`` (text or values) in place of defaults.

    Raises UserError for unknown options and values that are not possible.
    """
    names = [f.name for f in fields(Recipe)]
    for name in options:
        if name not in names:
            raise unknown("option of the local teacher", name, names)
    return Recipe(**options)
