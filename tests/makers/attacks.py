"""Attacks of ten classes on images of 32 by 32 pixels."""

from __future__ import annotations

from typing import Any

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.components.registry import choose, create_attack

TARGET = 5


def context(ratio: float = 1.0, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0) -> AttackContext:
    """What an attack on ``TARGET`` is told of its cell."""
    return AttackContext(target=TARGET, num_classes=10, image_shape=shape, poison_ratio=ratio, seed=seed)


def make(name: str, **options: Any) -> Attack:
    """The attack of that name with ``options``."""
    return create_attack(choose("attack", name, **options), context())
