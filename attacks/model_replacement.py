"""Model replacement: the update is scaled so that averaging it puts the attacker's model in the global model's place.

Bagdasaryan et al., "How To Backdoor Federated Learning", AISTATS 2020, constrain-and-scale. With G the global model
and X the poisoned one, the attacker minimizes (Eq. 4 and Algorithm 1)

    alpha L_class + (1 - alpha) L_ano,   L_ano = ||X - G||_2,

and uploads gamma (X - G), gamma = n / eta (Eq. 3): with n clients averaged alike and the honest ones near convergence,
the result is X. Attackers of one round share: each takes gamma = n / (number of them), as in the authors' code, so that
together they put the mean of their models in place. ``bound`` is the paper's train-and-scale: the scaled update is
shortened to that norm where it is longer.

Deviations: n counts the round's clients, since the server here averages those, with eta = 1; a server that weighs by
data size replaces in proportion to the attacker's share of it. The training ends with the cell's local epochs: the
attacker's own learning rate, its decay and stopping at a loss are left out. BatchNorm running statistics, which the
authors' code scales like parameters, are uploaded as trained: scaled variances can be negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext, GradientRule, LocalContext
from clipfed_bench.attack_kit.borrowed_trigger import ModelAttack
from clipfed_bench.attack_kit.constrained import constrained
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.triggers import check_share


@dataclass(frozen=True)
class Config:
    trigger: str = "badnets"
    """Attack whose trigger and poisoning are used, with its options in brackets if any [ours]."""
    gamma: float | None = None
    """Factor on each update, > 0; none: clients in the round over attackers in it [paper: Bagdasaryan 2020]."""
    alpha: float = 1.0
    """Weight of the class loss against the distance to the global model, 0 to 1; 1: no constraint [paper: its code]."""
    bound: float | None = None
    """Largest norm of the scaled update, > 0; none: any [ours]."""


class ModelReplacement(ModelAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_share("model-replacement", "alpha", config.alpha)
        if config.gamma is not None and config.gamma <= 0:
            raise UserError(f"model-replacement: gamma {config.gamma} is not a factor above 0; 1 is no scaling.")
        if config.bound is not None and config.bound <= 0:
            raise UserError(f"model-replacement: bound {config.bound} is not a norm above 0; none sets no bound.")

    def gradient_rule(self, context: LocalContext) -> GradientRule | None:
        alpha = self.config.alpha
        return None if alpha == 1.0 else constrained(context.global_params, alpha)

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        gamma = self.config.gamma if self.config.gamma is not None else context.participants / len(context.clients)
        scaled = gamma * updates
        if self.config.bound is None:
            return scaled
        norms = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        factor: Tensor = (self.config.bound / norms.clamp(min=torch.finfo(norms.dtype).tiny)).clamp(max=1.0)
        return scaled * factor
