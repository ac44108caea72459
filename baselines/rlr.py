"""RLR: a negative learning rate for each parameter on whose direction too few clients agree.

Ozdayi et al., "Defending against Backdoors in Federated Learning with Robust Learning Rate", AAAI 2021, Algorithm 1:
the server's learning rate of coordinate j is η where |Σ_i sign(Δ_i,j)| >= θ, and -η elsewhere; it multiplies FedAvg's
aggregate, weighted by data size. Here η = 1, as in the authors' code.

Deviations: θ is never more than the number of clients, so that a unanimous vote is never reversed. BatchNorm running
statistics are the mean weighted by data size; nothing of them is reversed. No client is selected or weighted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.krum import malicious_count
from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import Figure


@dataclass(frozen=True)
class Config:
    threshold: int | None = None
    """θ >= 0. None: one more than the malicious clients that the server expects in a round, rounded up; the smallest
    at which they cannot decide a coordinate that the others are split on [ours]. The authors' scripts have 4 for 10
    clients with one attacker and 8 for 40 with four."""


class RLR(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.threshold is not None and config.threshold < 0:
            raise UserError(f"rlr: threshold {config.threshold} is negative; it is a number of votes, 0 or more.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        wanted = self.config.threshold
        if wanted is None:
            wanted = malicious_count(self.server.assumed_malicious, len(updates)) + 1
        threshold = min(wanted, len(updates))
        agreed = sign_votes(updates.deltas).abs() >= threshold
        mean = updates.mean(updates.num_samples)
        info: dict[str, Figure] = {"rlr_threshold": float(threshold), "rlr_reversed": 1 - agreed.double().mean()}
        return Aggregate(torch.where(agreed, mean.delta, -mean.delta), mean.buffers, info=info)


def sign_votes(deltas: Tensor) -> Tensor:
    """Sum of the signs of each column of (K, P) ``deltas``: (P,) float32; row by row, to save memory."""
    votes = torch.zeros_like(deltas[0], dtype=torch.float32)
    for row in deltas:
        votes += row.sign()
    return votes
