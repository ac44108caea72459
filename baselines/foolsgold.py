"""FoolsGold: weigh down clients whose updates, over all rounds, point the same way.

Fung et al., "The Limitations of Federated Learning in Sybil Settings", RAID 2020, Algorithm 1. cs_ij is the cosine of
the sums H_i, H_j of all updates that clients i and j ever sent, v_i = max_j cs_ij; an honest client is pardoned, cs_ij
times v_i / v_j where v_i < v_j; α_i = 1 - max_j cs_ij, divided by the largest α; then α_i = κ (ln(α_i / (1 - α_i)) +
0.5), clipped to [0, 1], is the weight of client i. As in the authors' code, a similarity counts as at least 0 (cs_ii =
0 is in the maximum), and α = 1 is taken as 0.99.

Deviations: the aggregate is the weighted mean, Σ α_i Δ_i / Σ α_i; Algorithm 1 writes Σ α_i Δ_i, of single gradient
steps, and the authors' code for deep networks divides by the number of clients, so that the model moves less the more
clients are alike. Features are not weighted by their importance (S_t), nor are they in that code, which takes the last
layer's weights without its bias. Where every client has a twin, another whose history points the same way, all α are 0
(0/0 in the paper) and all weights are 1, the limit for clients that are equally alike: several groups of sybils with no
honest client beside them are treated like a round in which all agree. Histories of zeros are at distance 0 from each
other, so that two of them are twins, and at 1 from all others. BatchNorm running statistics are the mean with the same
weights. State: H of every client that was ever sampled, in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.distances import pairwise_cosine_distances


@dataclass(frozen=True)
class Config:
    features: Literal["classifier", "all"] = "classifier"
    """Parameters that the similarity is of: the last layer's, which the paper calls indicative features, or all of them
    (then the history takes as much memory as one model for each client) [ours]."""
    kappa: float = 1.0
    """κ > 0, the confidence: how steeply weights fall [paper: FoolsGold]."""


class FoolsGold(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.kappa <= 0:
            raise UserError(f"foolsgold: kappa {config.kappa} is not a confidence; it must be > 0.")
        self._history: dict[int, Tensor] = {}

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        limit = torch.finfo(torch.float32).max  # sums of finite updates stay finite
        for client, row in zip(updates.clients, self._indicative(updates.deltas), strict=True):
            before = self._history.get(client)
            self._history[client] = row.clone() if before is None else (before + row).clamp_(-limit, limit)
        history = torch.stack([self._history[client] for client in updates.clients])
        weights = foolsgold_weights(1 - pairwise_cosine_distances(history), self.config.kappa)
        result = updates.mean(weights)
        return Aggregate(result.delta, result.buffers, weights > 0, {"foolsgold_weight": weights.mean()})

    def state(self) -> dict[str, Tensor]:
        return {str(client): total for client, total in self._history.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._history = {int(client): total for client, total in state.items()}

    def _indicative(self, deltas: Tensor) -> Tensor:
        if self.config.features == "all":
            return deltas.float()
        assert self.server.model is not None
        layers = self.server.model().layers
        return torch.cat([deltas[:, layers[f"classifier.{part}"]] for part in ("weight", "bias")], dim=1).float()


def foolsgold_weights(cosines: Tensor, kappa: float = 1.0) -> Tensor:
    """Weights (K,) float64 in [0, 1], the largest of them 1 for κ >= 0.2, from (K, K) cosines of the histories."""
    similar = cosines.double().clone().fill_diagonal_(0)
    largest = similar.max(dim=1).values  # >= 0, because the diagonal is in it
    pardon = torch.where(largest[:, None] < largest[None, :], largest[:, None] / largest[None, :], 1.0)
    alpha = (1 - (similar * pardon).max(dim=1).values).clamp(0, 1)
    scaled = alpha / alpha.max()
    scaled = torch.where(scaled == 1, 0.99, scaled)
    return torch.where(alpha.any(), (kappa * (torch.logit(scaled) + 0.5)).clamp(0, 1), 1.0)
