"""What every model offers: features and a linear classifier on them."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Classifier(nn.Module):
    """A feature extractor f and a linear classifier c (PAPER.md 1)."""

    classifier: nn.Linear

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized float32 -> (B, D) features."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized float32 -> (B, classes) logits."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
