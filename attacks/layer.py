"""LayerAttack: only the layers that carry the backdoor are poisoned, all others are honest.

Zhuang et al., "Backdoor Federated Learning by Poisoning Backdoor-Critical Layers", ICLR 2024, the layer-wise poisoning
(LP) attack. Each malicious client trains an honest and a poisoned model, finds the critical layers L* by layer
substitution (clipfed_bench/attack_kit/layer_substitution.py) and uploads, with u the updates and v marking L* (Eq. 4),

    lambda v u_poisoned + ReLU(1 - lambda) v u_honest + (1 - v) u_honest.

With ``check`` it first simulates the server's filter, as the paper does, on M copies of what it would upload and the
honest models of other malicious clients, and drops the least critical layers until a copy is accepted (at least one
layer stays; the authors' code uploads the last choice that was refused, one layer more).

Deviations: ``check`` is off by default; the authors' code always simulates, FLAME where the server runs it and Krum or
Multi-Krum otherwise. u_honest is the client's own, where Eq. 4 averages the honest models of all attackers; layers are
found anew in each round from the client's own two models; the held-out images are in neither model's training set;
lambda is not searched. BatchNorm running statistics are those of the honest model, as in the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext, LocalModel
from clipfed_bench.attack_kit.borrowed_trigger import ModelAttack
from clipfed_bench.attack_kit.layer_substitution import check_analysis, find_critical, places
from clipfed_bench.attack_kit.rehearsal import Rehearsal
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    trigger: str = "badnets"
    """Attack whose trigger and poisoning are used, with its options in brackets if any [lineage]."""
    threshold: float = 0.95
    """Share of the poisoned model's success at which adding layers ends, above 0 to 1 [lineage]."""
    validation: float = 0.25
    """Share of its images that a malicious client keeps from training to measure success on, 0 to 1 [lineage]."""
    scale: float = 1.0
    """lambda of Eq. 4: weight of the poisoned update on the critical layers, > 0 [lineage]."""
    check: str | None = None
    """Defense to try an upload on before it is sent, one that selects clients, e.g. flame; none: no check [ours]."""


class LayerAttack(ModelAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_analysis("layer", config.validation, config.threshold)
        if config.scale <= 0:
            raise UserError(f"layer: scale {config.scale} leaves no poisoned update; it is above 0, 1 is as trained.")
        self._check = None if config.check is None else Rehearsal("layer", "check", config.check, context)
        self.held_out = config.validation

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        crafted = torch.empty_like(updates)
        for row, update, buffers, client in zip(crafted, updates, context.buffers, context.clients, strict=True):
            row.copy_(self._craft(LocalModel(update, buffers), client, context))
        return crafted

    def craft_buffers(self, context: CraftContext) -> Tensor:
        return torch.stack([context.honest(client).buffers for client in context.clients])

    def _craft(self, poisoned: LocalModel, client: int, context: CraftContext) -> Tensor:
        honest = context.honest(client).delta
        chosen = find_critical(self, client, poisoned, context, self.config.threshold)
        crafted = self._mix(honest, poisoned.delta, chosen, context)
        while self._check is not None and len(chosen) > 1 and not self._accepted(crafted, client, context):
            chosen = chosen[:-1]
            crafted = self._mix(honest, poisoned.delta, chosen, context)
        return crafted

    def _mix(self, honest: Tensor, poisoned: Tensor, chosen: list[str], context: CraftContext) -> Tensor:
        mixed, scale = honest.clone(), self.config.scale
        for place in places(context.layers, chosen):
            mixed[place] = scale * poisoned[place] + max(0.0, 1 - scale) * honest[place]
        return mixed

    def _accepted(self, crafted: Tensor, client: int, context: CraftContext) -> bool:
        """Whether the simulated filter keeps a copy of ``crafted`` (P,) in a round like this one."""
        assert self._check is not None
        others = [c for c in context.colluders if c != client][: context.participants - len(context.clients)]
        deltas = [context.honest(c).delta for c in others]
        known = torch.stack(deltas) if deltas else crafted.new_empty(0, len(crafted))
        return self._check.accepted(crafted, known, context.honest(client).buffers, context)
