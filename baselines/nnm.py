"""NNM (nearest-neighbor mixing): replace each update by the mean of those nearest to it, for another defense.

Allouah et al., "Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity", AISTATS 2023, Algorithm 2: of
n clients, f of them malicious, y_i is the plain mean of the n - f updates with the smallest Euclidean distance to
update i, itself among them; the robust rule gets y_1, ..., y_n.

The mixtures take as much memory as the updates, in float32, and n times the multiplications of a mean; with Krum's
distances that is more than 3 times the reading of the updates.

Deviations: the guarantee asks for n > 2f; at or below that, or where f is all clients, at least the update itself is
mixed, and ``nnm_guarantee`` is 0. Ties go to the lowest client id. Mixture i goes by the id of client i, and by the
images of all that are in it. A client is accepted where it is in an accepted mixture: with Krum, n - f clients are.
BatchNorm running statistics are mixed with the same weights, and in no distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines._assumed import assumed_share
from baselines._wrapper import Wrapper
from baselines.krum import malicious_count
from clipfed_bench.api import ClientUpdates, RoundContext, ServerContext
from clipfed_bench.toolbox.device import Figure, to_device
from clipfed_bench.toolbox.distances import pairwise_squared_distances, round_significant
from clipfed_bench.toolbox.sums import blocks


@dataclass(frozen=True)
class Config:
    of: str = "krum"
    """The defense that aggregates the mixtures, with its options; one that needs neither server data nor a teacher
    [ours]."""
    malicious: float | None = None
    """Assumed share of malicious clients, 0 to below 0.5; f is that share of the round's clients, rounded up, here and,
    unless ``of`` sets its own, in the other defense. None: the share that the server is told to expect [ours]."""


class NNM(Wrapper):
    name = "nnm"
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        self.malicious = assumed_share(self.name, config.malicious, server)
        super().__init__(config, server, self.malicious)

    def mixed(self, updates: ClientUpdates, context: RoundContext) -> tuple[ClientUpdates, Tensor, dict[str, Figure]]:
        clients, malicious = len(updates), malicious_count(self.malicious, len(updates))
        distances = pairwise_squared_distances(updates.deltas)
        parts = nearest(distances, updates.clients, max(clients - malicious, 1))
        weights = (parts.double() / parts.sum(dim=1, keepdim=True)).float()
        mixtures = replace(
            updates,
            deltas=weighted_sums(updates.deltas, weights),
            buffers=weights @ updates.buffers,
            num_samples=parts.double() @ to_device(updates.num_samples, parts.device),
        )
        return mixtures, parts, {"nnm_malicious": float(malicious), "nnm_guarantee": float(clients > 2 * malicious)}


def nearest(distances: Tensor, clients: tuple[int, ...], count: int) -> Tensor:
    """(K, K) bool: the ``count`` clients nearest to each, itself first, from (K, K) squared distances."""
    by_id = to_device(torch.tensor(sorted(range(len(clients)), key=clients.__getitem__)), distances.device)
    ranked = round_significant(distances).fill_diagonal_(-1.0)[:, by_id].sort(dim=1, stable=True).indices
    return torch.zeros_like(distances, dtype=torch.bool).scatter_(1, by_id[ranked[:, :count]], True)


def weighted_sums(matrix: Tensor, weights: Tensor) -> Tensor:
    """``weights`` (K, K) float32 @ ``matrix`` (K, P): (K, P) float32, also of bfloat16, which is not copied whole."""
    if matrix.dtype == torch.float32:
        return weights @ matrix
    sums = torch.empty(len(weights), matrix.shape[1], device=matrix.device)
    for part, block in zip(blocks(sums), blocks(matrix), strict=True):
        part.copy_(weights @ block.float())
    return sums
