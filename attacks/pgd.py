"""PGD: the attacker trains inside a ball around the global model, projected back after each step.

Projected gradient descent as an attack on norm bounds: Sun et al., "Can You Really Backdoor Federated Learning?", 2019,
and Wang et al., "Attack of the Tails: Yes, You Really Can Backdoor Federated Learning", NeurIPS 2020. With G the global
model and r the radius, each step is followed by

    w <- G + (w - G) min(1, r / ||w - G||_2).

Deviations: it projects after every step, where the code of Wang et al. does after every tenth batch and the last of an
epoch; the attacker's own learning rate and epochs are left out: the cell's training settings hold. Their PGD with
replacement is ``attack_scale``. BatchNorm running statistics are in no norm and uploaded as trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import AttackContext, LocalContext, ParameterRule
from clipfed_bench.attack_kit.borrowed_trigger import ModelAttack
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    trigger: str = "badnets"
    """Attack whose trigger and poisoning are used, with its options in brackets if any [ours]."""
    radius: float = 2.0
    """r, the largest norm of the update before ``attack_scale``, > 0 [paper: the code of Wang et al.]."""


class PGD(ModelAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        if not config.radius > 0:
            raise UserError(f"pgd: radius {config.radius} leaves no update; it is above 0.")

    def parameter_rule(self, context: LocalContext) -> ParameterRule:
        return lambda params: project(params, context.global_params, self.config.radius)


def project(params: Tensor, center: Tensor, radius: float) -> Tensor:
    """``params`` (P,), or where they are further than ``radius`` from ``center`` (P,), the nearest that are not."""
    away = params - center
    norm = torch.linalg.vector_norm(away)
    return torch.where(norm > radius, center + away * (radius / norm), params)
