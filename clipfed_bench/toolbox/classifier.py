"""What every model offers: features, a linear classifier on them, and what it is trained with."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """A feature extractor f and a linear classifier c (PAPER.md 1).

    A subclass states what it trains with, as literals with a string below each: a cell has these values unless it says
    otherwise. Its ``__init__`` calls this one, makes the layers, and last ``classifier``. It raises UserError for
    images that it cannot take. Weights are torch's own initial ones, drawn from its global stream, which is seeded.
    """

    lr: ClassVar[float]
    """Learning rate of local SGD."""
    batch_size: ClassVar[int]
    """Images of a local batch."""
    warmup_rounds: ClassVar[int]
    """Clean rounds before the first that may be attacked."""
    compiled: ClassVar[bool] = False
    """Whether there are kernels that Numba compiles for a CPU, beside torch's operators, at the model's defaults."""

    classifier: nn.Linear
    kernels = "torch"
    """``numba``: compiled ones on a CPU, where the model has them. The same function, but for its last bits."""

    def __init__(self, config: Any, image_shape: tuple[int, int, int], num_classes: int) -> None:
        """``image_shape`` is (C, H, W)."""
        super().__init__()
        self.config = config

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) normalized float32 -> (B, D) features."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) normalized float32 -> (B, classes) float32 logits, also where autocast makes features bfloat16.

        With its eight bits one image in two hundred would have two largest logits, and count as the lower class.
        """
        features = self.features(images)
        exact = features.dtype == torch.float32
        with nullcontext() if exact else torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.classifier(features.float())
        return logits
