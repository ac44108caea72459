"""AFA: the update is flipped in sign on the layers that carry the backdoor, and honest on all others.

The adaptive attack of CLIP-Fed (arXiv 2508.10315), which does not define it. Taken here from the code of Zhuang et al.,
"Backdoor Federated Learning by Poisoning Backdoor-Critical Layers", ICLR 2024, the layer-wise flipping (LF) attack,
meant for defenses that flip signs themselves, such as RLR: on the critical layers, found by layer substitution
(clipfed_bench/attack_kit/layer_substitution.py),

    w' = 2 w_global - w_poisoned,   that is   u' = -u_poisoned,

and the client's honest parameters elsewhere. Against a server that does not flip them back it is an attack on the main
task more than a backdoor. ``layers = "all"`` flips the whole update, which that code calls AFA.

Deviations: those of layer.py; and with ``"all"`` BatchNorm running statistics stay those of poisoned training, since
flipped variances can be negative. Otherwise they are the honest model's, as in the authors' code. The threshold is LP's
0.95, where that code's default for LF is 0.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext, LocalModel
from clipfed_bench.attack_kit.borrowed_trigger import ModelAttack
from clipfed_bench.attack_kit.layer_substitution import check_analysis, find_critical, places, substitute
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    trigger: str = "badnets"
    """Attack whose trigger and poisoning are used, with its options in brackets if any [lineage]."""
    layers: Literal["critical", "all"] = "critical"
    """Where the update is flipped: on the critical layers, or everywhere [paper: "sensitive layers"]."""
    threshold: float = 0.95
    """critical: share of the poisoned model's success at which adding layers ends, above 0 to 1 [lineage: LP]."""
    validation: float = 0.25
    """critical: share of its images that a malicious client keeps to measure success on, 0 to 1 [lineage]."""


class AFA(ModelAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        if config.layers not in ("critical", "all"):
            raise UserError(f"afa: unknown layers '{config.layers}'; it is 'critical' or 'all'.")
        check_analysis("afa", config.validation, config.threshold)
        self.held_out = config.validation if config.layers == "critical" else 0.0

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        if self.config.layers == "all":
            return -updates
        crafted = torch.empty_like(updates)
        for row, update, buffers, client in zip(crafted, updates, context.buffers, context.clients, strict=True):
            chosen = find_critical(self, client, LocalModel(update, buffers), context, self.config.threshold)
            row.copy_(substitute(context.honest(client).delta, -update, places(context.layers, chosen)))
        return crafted

    def craft_buffers(self, context: CraftContext) -> Tensor:
        if self.config.layers == "all":
            return context.buffers
        return torch.stack([context.honest(client).buffers for client in context.clients])
