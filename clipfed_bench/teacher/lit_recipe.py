"""How a teacher is tuned on a frozen image tower: a torch-free description, so that specs can be checked early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from clipfed_bench.core.errors import TeacherError, unknown
from clipfed_bench.core.values import convert
from clipfed_bench.teacher.recipe import Schedule
from clipfed_bench.teacher.towers import Tower, parse_tower

DEFAULT_TOWER = "efficientnet-lite2"


@dataclass(frozen=True)
class LitRecipe:
    """Training of :func:`clipfed_bench.teacher.lit.tune_teacher`. All defaults are [ours].

    Learning rate and epochs were chosen by the accuracy on CIFAR-10 images that the long tail leaves out.
    """

    tower: str = DEFAULT_TOWER
    """Pre-trained image tower: efficientnet-lite0, -lite1, -lite2, or timm:NAME, timm:NAME@FILE [ours]."""
    image_size: int | None = None
    """Input side of the tower, 32 to 1024; none: 128, 160, 192 for lite0, 1, 2, or the tower's own [ours]."""
    per_class: int | None = 200
    """Server images of a class to tune on at most, >= 2; none: all. More cost time and add little [ours]."""
    epochs: int | None = None
    """Passes over the training share of the server data, >= 1; none: some 10,000 images in all [ours]."""
    batch_size: int | None = None
    """Images of a batch, >= 2; none: 128, or an eighth of the images where that is less [ours]."""
    lr: float = 1e-3
    """Peak learning rate of AdamW, one-cycle (20 % warm-up, cosine down to 0) [ours]."""
    weight_decay: float = 0.05
    """Of matrices; never of biases, norms and the logit scale [ours]."""
    holdout: float = 0.1
    """Share of each class held out to measure zero-shot accuracy and to calibrate by, in (0, 0.5] [ours]."""
    seed: int = 0
    """Of initialization, split and batches [ours]."""

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, convert(getattr(self, f.name), str(f.type), f"lit teacher: {f.name}"))
        checks = {
            "image_size": (self.image_size is None or 32 <= self.image_size <= 1024, "from 32 to 1024"),
            "per_class": (self.per_class is None or self.per_class >= 2, "at least 2"),
            "epochs": (self.epochs is None or 1 <= self.epochs <= 1_000_000, "from 1 to 1,000,000"),
            "batch_size": (self.batch_size is None or self.batch_size >= 2, "at least 2"),
            "lr": (0 < self.lr <= 10, "above 0, up to 10"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "holdout": (0 < self.holdout <= 0.5, "in (0, 0.5]"),
            "seed": (self.seed >= 0, "at least 0"),
        }
        for name, (good, right) in checks.items():
            if not good:
                raise TeacherError(f"lit teacher: {name} {getattr(self, name)} is out of range; it must be {right}.")
        parse_tower(self.tower)

    def resolved(self, images: int) -> LitRecipe:
        """With what is left open (None) chosen for this number of server images, but for the input side."""
        return replace(
            self,
            epochs=self.epochs or max(3, min(100, round(10_000 / max(images, 1)))),
            batch_size=self.batch_size or max(2, min(128, images // 8)),
        )

    def schedule(self) -> Schedule:
        """Of a resolved recipe."""
        assert self.epochs is not None
        assert self.batch_size is not None
        return Schedule(self.epochs, self.batch_size, self.lr, self.weight_decay, self.seed)

    @property
    def where(self) -> Tower:
        """The tower that is named."""
        return parse_tower(self.tower)


def lit_recipe(options: Mapping[str, Any]) -> LitRecipe:
    """The recipe with ``options`` (text or values) in place of defaults.

    Raises UserError for unknown options and values that are not possible.
    """
    names = [f.name for f in fields(LitRecipe)]
    for name in options:
        if name not in names:
            raise unknown("option of the lit teacher", name, names)
    return LitRecipe(**options)
