"""IPM (untargeted): inner product manipulation, the mean update reversed and shortened.

Xie, Koyejo and Gupta, "Fall of Empires: Breaking Byzantine-Tolerant SGD by Inner Product Manipulation", UAI 2019: all
malicious clients send -epsilon times the mean of the honest updates, so that the inner product of aggregate and mean
becomes negative. A small epsilon stays inside the cloud of honest updates, a large one dominates a mean.

Deviations: the paper's attacker knows the honest updates; here the mean is that of malicious clients' own honest ones.
BatchNorm running statistics are uploaded as trained.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext, UntargetedAttack
from clipfed_bench.attack_kit.known_updates import check_known, known_updates
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    epsilon: float = 0.5
    """Length of the reversed mean in that of the mean, > 0 [ours]."""
    known: int = 5
    """Malicious clients whose honest updates are averaged: those of the round, and others up to this number [ours]."""


class IPM(UntargetedAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_known("ipm", config.known)
        if not config.epsilon > 0:
            raise UserError(f"ipm: epsilon {config.epsilon} reverses nothing; it is above 0, 1 keeps the length.")

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        mean = known_updates(updates, context, self.config.known).mean(dim=0)
        return (-self.config.epsilon * mean).expand_as(updates)
