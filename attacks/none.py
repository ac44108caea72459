"""Clean run: malicious clients train like everybody else.

The baseline of every attack: its MTA is what an attack costs, and its ASR, measured with the default BadNets square,
is how often a clean model takes a triggered image for the target class anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attacks import badnets
from clipfed_bench.api import Attack, AttackContext


@dataclass(frozen=True)
class Config:
    """No options."""


class NoAttack(Attack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        self._square = badnets.BadNets(badnets.Config(), context)

    def trigger(self, images: Tensor) -> Tensor:
        return self._square.trigger(images)

    def poison(self, images: Tensor, labels: Tensor, attacker: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The batch as it is, at every poisoning ratio."""
        return images, labels
