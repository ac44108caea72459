"""How large a model is, and how much it computes, counted on shapes: nothing is allocated."""

from __future__ import annotations

from functools import cache

import torch

from clipfed_bench.components.choice import Choice
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.models.build import build_model
from clipfed_bench.toolbox.classifier import Classifier

Shape = tuple[int, int, int]
"""(C, H, W)."""


@cache
def sizes(model: Choice, num_classes: int, image_shape: Shape) -> tuple[int, int]:
    """(P, Q): parameters, and entries of running statistics. Raises UserError where it cannot take such images."""
    built = _without_values(model, num_classes, image_shape)
    buffers = (buffer for buffer in built.buffers() if buffer.is_floating_point())
    return sum(p.numel() for p in built.parameters()), sum(b.numel() for b in buffers)


@cache
def training_flops(model: Choice, num_classes: int, image_shape: Shape) -> int:
    """FLOPs to train on one image: three times those of the forward pass, convolutions and matrix products alone.

    Raises UserError where the model cannot take such images.
    """
    from torch.utils.flop_counter import FlopCounterMode

    built = _without_values(model, num_classes, image_shape).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            built(torch.empty(1, *image_shape, device="meta"))
        except Exception as error:  # of anybody's model
            shape = "×".join(map(str, image_shape))
            why = f"raises {type(error).__name__}: {shown(error)}"
            raise UserError(f"model '{model}': an image of {shape} through it {why}") from error
    if (flops := 3 * int(counter.get_total_flops())) == 0:
        raise UserError(f"model '{model}': it multiplies nothing; a model with weights is needed.")
    return flops


def _without_values(model: Choice, num_classes: int, image_shape: Shape) -> Classifier:
    with torch.device("meta"):
        return build_model(model, num_classes, 0, image_shape=image_shape)
