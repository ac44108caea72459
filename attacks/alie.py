"""ALIE (untargeted): "a little is enough", all coordinates moved as far as honest updates scatter.

Baruch, Baruch and Goldberg, "A Little Is Enough: Circumventing Defenses For Distributed Learning", NeurIPS 2019,
Algorithm 3: with mean mu_j and standard deviation sigma_j of coordinate j over the malicious clients' own honest
updates, all of them upload mu_j + z sigma_j. Without ``z`` it is the algorithm's z_max of n clients, m of them
malicious: s = floor(n / 2 + 1) - m honest clients have to lie further out, so that

    z_max = max z with Phi(z) < (n - m - s) / (n - m),   Phi the cumulative standard normal.

Deviations: n counts the clients of the round. z is 1.5 by default, as in the authors' code: z_max is 0 or below where
few clients are malicious, 2 of 10, say, and then refused. BatchNorm running statistics are uploaded as trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext, UntargetedAttack
from clipfed_bench.attack_kit.known_updates import check_known, several_updates
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    z: float | None = 1.5
    """Standard deviations by which coordinates are moved, not 0; none: z_max of Algorithm 3 [paper: its code]."""
    known: int = 5
    """Malicious clients whose honest updates it knows: those of the round, and others up to this number [ours]."""


class ALIE(UntargetedAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_known("alie", config.known)
        if config.z == 0:
            raise UserError("alie: z 0 moves nothing; the authors take 1.5.")

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        known = several_updates("alie", updates, context, self.config.known)
        z = largest_z(context.participants, len(updates)) if self.config.z is None else self.config.z
        deviation, mean = torch.std_mean(known, dim=0, correction=0)
        return torch.add(mean, deviation, alpha=z).expand_as(updates)


def largest_z(clients: int, malicious: int) -> float:
    """z_max of ``clients`` >= 1, ``malicious`` of them. Raises UserError where it is not above 0, or unbounded."""
    supporters = clients // 2 + 1 - malicious
    honest = clients - malicious
    if supporters <= 0:
        raise UserError(f"alie: {malicious} of {clients} clients are a majority, for which z has no bound; give z.")
    if 2 * (honest - supporters) <= honest:
        raise UserError(
            f"alie: z_max of {clients} clients, {malicious} of them malicious, is not above 0 and moves nothing; give "
            "z, for which the authors take 1.5."
        )
    return NormalDist().inv_cdf((honest - supporters) / honest)
