"""What is known of a model before it is built: what it trains with, as its file states. No torch."""

from __future__ import annotations

from typing import Any

from clipfed_bench.components.choice import Choice
from clipfed_bench.components.described import RECIPE

OF_MODEL = tuple(RECIPE)
"""Settings of a cell that follow from its model: learning rate, batch size, clean rounds before the attack."""


def recipe(model: Choice) -> dict[str, Any]:
    """Setting -> the value that the model is known to train with."""
    return {setting.name: setting.default for setting in model.component.recipe}


def origins(model: Choice) -> dict[str, str]:
    """Setting -> where that value comes from: paper, lineage or ours."""
    return {setting.name: setting.origin for setting in model.component.recipe}


def has_kernels(model: Choice, image_shape: tuple[int, int, int]) -> bool:
    """Whether a model has compiled kernels for such images: at its defaults, for those of CIFAR."""
    return model.component.compiled and str(model) == model.name and image_shape == (3, 32, 32)
