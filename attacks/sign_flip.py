"""Sign-flip (untargeted): each malicious client uploads its honest update, reversed and scaled.

Li et al., "RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed Learning from Heterogeneous Datasets",
AAAI 2019, sign-flipping attack: -s times what an honest client would send. Deviations: the update of a whole local
training is reversed, where the paper's workers send iterates. BatchNorm running statistics are uploaded as trained:
reversed variances would be negative.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext, UntargetedAttack
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    scale: float = 1.0
    """s, the length of the reversed update in that of the honest one, > 0 [ours]."""


class SignFlip(UntargetedAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        if not config.scale > 0:
            raise UserError(f"sign-flip: scale {config.scale} reverses nothing; it is above 0, 1 keeps the length.")

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        return -self.config.scale * updates
