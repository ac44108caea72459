"""What every model offers: features and a linear classifier on them."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """A feature extractor f and a linear classifier c (PAPER.md 1)."""

    classifier: nn.Linear
    kernels = "torch"
    """``numba``: compiled ones on a CPU, where the model has them. The same function, but for its last bits."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized float32 -> (B, D) features."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized float32 -> (B, classes) float32 logits, also where autocast makes features bfloat16.

        With its eight bits one image in two hundred would have two largest logits, and count as the lower class.
        """
        features = self.features(images)
        exact = features.dtype == torch.float32
        with nullcontext() if exact else torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.classifier(features.float())
        return logits
