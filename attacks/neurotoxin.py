"""Neurotoxin: the backdoor is trained only into parameters that benign clients hardly move, so that it lasts.

Zhang et al., "Neurotoxin: Durable Backdoors in Federated Learning", ICML 2022, Algorithm 1: in every step the poisoned
gradient is projected onto the complement of the top-k coordinates, by magnitude over the whole model, of the benign
gradient, for which the attacker takes the update of the global model that it saw in the round before.

Deviations: the authors' code estimates the benign gradient on clean data, in its vision tasks those of 30 clients,
instead of taking that update; the attacker's own learning rate and its projection onto a norm ball (PGD) are left out:
the cell's training settings hold, and ``attack_scale`` is there. In the first round of a cell nothing has been seen,
and nothing is masked. Weight decay, if any, acts on masked parameters too, as in the authors' code. int(k P) of P
parameters are masked; the authors' code keeps int((1 - k) P) and masks the rest, one more where k P is not whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import AttackContext, GradientRule, LocalContext
from clipfed_bench.attack_kit.borrowed_trigger import ModelAttack
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.triggers import check_share


@dataclass(frozen=True)
class Config:
    trigger: str = "badnets"
    """Attack whose trigger and poisoning are used, with its options in brackets if any [ours]."""
    masked: float = 0.05
    """Share k of parameters, those that moved most, that the backdoor leaves alone, 0 to below 1 [paper: its code]."""


class Neurotoxin(ModelAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_share("neurotoxin", "masked", config.masked)
        if config.masked == 1:
            raise UserError("neurotoxin: masked 1.0 leaves no parameter to the backdoor; it is below 1.")

    def gradient_rule(self, context: LocalContext) -> GradientRule | None:
        if context.previous_update is None:
            return None
        mask = free_coordinates(context.previous_update, self.config.masked)
        return lambda grad, params: grad * mask


def free_coordinates(update: Tensor, masked: float) -> Tensor:
    """0 at the ``int(masked * P)`` largest entries of ``update`` (P,) by magnitude, 1 elsewhere; (P,) float32."""
    largest = torch.topk(update.abs(), int(masked * update.numel()), sorted=False).indices
    return torch.ones_like(update).index_fill_(0, largest, 0.0)
