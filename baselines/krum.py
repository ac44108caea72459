"""Krum: the one update that is closest to its nearest neighbors.

Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NIPS 2017, section 4: the
score of client i is the sum of squared Euclidean distances to its n - f - 2 nearest others, of n clients of which f
are assumed malicious; the client with the smallest score is the aggregate.

Deviations: ties (the nearest pair always ties where one neighbor counts) go to the lowest client id, so that the order
of clients does not matter. The guarantee asks for 2f + 2 < n; below that the score is still defined, with at least one
neighbor, and ``krum_guarantee`` is 0. BatchNorm running statistics are the selected client's and in no distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import pairwise_squared_distances, round_significant


@dataclass(frozen=True)
class Config:
    malicious: float | None = None
    """Assumed share of malicious clients, 0 to below 0.5; f is that share of the round's clients, rounded up, since
    too small an f voids the guarantee. None: the share that the server is told to expect [ours]."""


class Krum(Defense):
    name: ClassVar[str] = "krum"

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        share = config.malicious
        if share is not None and not 0.0 <= share < 0.5:
            raise UserError(f"{self.name}: malicious {share} is not a share of clients from 0 to below 0.5.")
        self.malicious = server.assumed_malicious if share is None else share

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        clients = len(updates)
        malicious = malicious_count(self.malicious, clients)
        scores = krum_scores(to_host(pairwise_squared_distances(updates.deltas)), malicious)
        # Rounded, because sums that are equal on paper differ in their last bits with the order of clients.
        ranked = sorted(zip(round_significant(scores).tolist(), updates.clients, range(clients), strict=True))
        kept = torch.zeros(clients, dtype=torch.bool)
        kept[[row for _, _, row in ranked[: self.selected(clients, malicious)]]] = True
        result = updates.mean(kept.double())
        info = {"krum_malicious": float(malicious), "krum_guarantee": float(clients >= 2 * malicious + 3)}
        return Aggregate(result.delta, result.buffers, to_device(kept, updates.deltas.device), info)

    def selected(self, clients: int, malicious: int) -> int:
        """How many of ``clients`` the aggregate is the mean of."""
        return 1


def malicious_count(share: float, clients: int) -> int:
    """f: ``share`` of ``clients``, rounded up (0.14 of 50 is 7, although 0.14 * 50 > 7 in binary)."""
    return math.ceil(share * clients - 1e-9)


def krum_scores(distances: Tensor, malicious: int) -> Tensor:
    """(K,) float64 scores from (K, K) squared distances: the sum over each client's K - f - 2 nearest others."""
    clients = len(distances)
    neighbors = min(max(clients - malicious - 2, 1), clients - 1)
    others = distances.double().clone().fill_diagonal_(math.inf)  # sorts a client behind its neighbors
    return others.sort(dim=1).values[:, :neighbors].sum(dim=1)
