"""Chameleon: the features of triggered images are pulled towards the target class's own, so that the backdoor lasts.

Dai and Li, "Chameleon: Adapting to Peer Images for Planting Durable Backdoors in Federated Learning", ICML 2023. Honest
images of the target class, called facilitators, keep a backdoor alive in later rounds; those of the trigger's true
class, interferers, undo it. So the encoder is trained by the supervised contrastive loss (Khosla et al., NeurIPS 2020)
on poisoned labels, and the classifier behind it by cross-entropy. With features z of norm 1, P(i) the others with the
label of i, and w_i the weight ``facilitators`` where that label is the target's, else 1, the encoder's loss is

    mean over i of  w_i / |P(i)| sum over p in P(i) of  -log q_ip,
    q_ip = exp(z_i z_p / tau) / sum over a != i of exp(z_i z_a / tau).

Deviations: encoder and classifier learn in the same steps, each from its own loss alone, at the cell's learning rate;
the authors' code trains the encoder for ten epochs, then the classifier for three. Images with a label that no other
has add nothing, as in the code. Pairs of poisoned images and interferers have no weight of their own: with all classes
triggered there is no one class of them. The norm ball around the global model is an option, 5 in the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attacks.pgd import project
from clipfed_bench.api import AttackContext, LocalContext, Loss, ParameterRule
from clipfed_bench.attack_kit.borrowed_trigger import ModelAttack
from clipfed_bench.core.errors import UserError


@dataclass(frozen=True)
class Config:
    trigger: str = "badnets"
    """Attack whose trigger and poisoning are used, with its options in brackets if any [ours]."""
    temperature: float = 0.07
    """tau, > 0 [paper: its code]."""
    facilitators: float = 6.0
    """Weight of images that are labelled as the target, > 0 [paper: its code, for pixel triggers]."""
    radius: float | None = None
    """Largest norm of the update before ``attack_scale``, > 0; none: any [ours: 5 in the authors' code]."""


class Chameleon(ModelAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        for name in ("temperature", "facilitators", "radius"):
            value = getattr(config, name)
            if value is not None and not value > 0:
                raise UserError(f"chameleon: {name} {value} is out of range; it is above 0.")

    def local_loss(self, context: LocalContext) -> Loss:
        c = self.config

        def loss(model: Any, images: Tensor, labels: Tensor) -> Tensor:
            features = model.features(images).float()
            weights = torch.where(labels == self.context.target, c.facilitators, 1.0)
            contrast = contrastive(features, labels, weights, c.temperature)
            return contrast + F.cross_entropy(model.classifier(features.detach()).float(), labels)

        return loss

    def parameter_rule(self, context: LocalContext) -> ParameterRule | None:
        radius = self.config.radius
        return None if radius is None else lambda params: project(params, context.global_params, radius)


def contrastive(features: Tensor, labels: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """The module's loss of ``features`` (B, D) float32, ``labels`` (B,) and ``weights`` (B,); 0 where B is 1."""
    if len(labels) < 2:
        return features.sum() * 0
    normed = F.normalize(features, dim=1)
    likeness = normed @ normed.T / temperature
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    odds = likeness - likeness.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    alike = (labels[:, None] == labels[None, :]) & ~itself
    mean = (odds * alike).sum(dim=1) / alike.sum(dim=1).clamp(min=1)
    return -(weights * mean).mean()
