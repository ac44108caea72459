"""FedAvg: the mean of the updates, weighted by data size. No defense.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017, Algorithm 1.
Deviations: none. BatchNorm running statistics are averaged with the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext


@dataclass(frozen=True)
class Config:
    weighted: bool = True
    """Weight clients by their number of samples, Algorithm 1; false: plain mean, as the lineage does [ours]."""


class FedAvg(Defense):
    config: Config

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        weights = updates.num_samples if self.config.weighted else torch.ones_like(updates.num_samples)
        return updates.mean(weights)
