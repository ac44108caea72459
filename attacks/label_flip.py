"""Label-flip (untargeted): malicious clients train on wrong labels, each class called by its mirror image.

Fang et al., "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning", USENIX Security 2020, which it is a
baseline of: a label l of L classes becomes L - l - 1. With an odd number of classes the middle one keeps its label.

Deviations: at a poisoning ratio of 1 all labels are wrong and no copy of the batch is appended, as the paper has it;
below, those of so many images of each batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import UntargetedAttack


@dataclass(frozen=True)
class Config:
    """No options."""


class LabelFlip(UntargetedAttack):
    config: Config

    def poison(self, images: Tensor, labels: Tensor, attacker: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The same images; the first ``count`` labels flipped, all at a poisoning ratio of 1."""
        ratio = self.context.poison_ratio
        if count is None:
            count = len(labels) if ratio >= 1 else int(ratio * len(labels))
        flipped = self.context.num_classes - 1 - labels[:count]
        return images, torch.cat([flipped, labels[count:]])
