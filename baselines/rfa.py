"""RFA: the geometric median of the updates, the point with the smallest sum of distances to all of them.

Pillutla et al., "Robust Aggregation for Federated Learning", IEEE Transactions on Signal Processing 2022, Algorithm 2
(smoothed Weiszfeld): from v, repeat β_i = α_i / max(ν, ‖v - Δ_i‖) and v = Σ β_i Δ_i / Σ β_i, with α_i the clients'
shares of the data.

All steps are taken in weights, not in parameters: of a v with weights a that sum to 1, ‖v - Δ_i‖² is
Σ_j a_j D_ij - ½ Σ_jk a_j a_k D_jk for the squared distances D between updates. So any number of steps costs what Krum's
distances cost, and one mean; with many clients that is more than 3 times the reading of the updates.

Deviations: v starts at the mean, as in the authors' code. BatchNorm running statistics are the mean with the last
weights. No client is selected.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.distances import pairwise_squared_distances


@dataclass(frozen=True)
class Config:
    steps: int = 4
    """Steps after the mean, 0 or more; each shrinks the pull of f far clients of n by f / (n - f) [lineage: the
    authors' code takes 5 means, the first of them by size alone]."""
    smoothing: float = 1e-6
    """ν > 0, the distance below which an update counts as equal to the median [paper]."""


class RFA(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.steps < 0:
            raise UserError(f"rfa: steps {config.steps} is negative; it must be 0 (the mean) or more.")
        if config.smoothing <= 0:
            raise UserError(f"rfa: smoothing {config.smoothing} is not a distance above 0.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        distances = pairwise_squared_distances(updates.deltas)
        sizes = to_device(updates.num_samples, distances.device)
        shares = median_shares(distances, sizes / sizes.sum(), self.config.steps, self.config.smoothing)
        result = updates.mean(shares)
        return Aggregate(result.delta, result.buffers, info={"rfa_largest_share": shares.max()})


def median_shares(distances: Tensor, alpha: Tensor, steps: int, smoothing: float) -> Tensor:
    """Weights (K,) float64 of sum 1 after so many ``steps``, from (K, K) squared distances and ``alpha`` (K,)."""
    shares = alpha
    for _ in range(steps):
        to_clients = distances @ shares
        apart = (to_clients - shares @ to_clients / 2).clamp(min=0).sqrt()  # rounding must not make it negative
        beta = alpha / apart.clamp(min=smoothing)
        shares = beta / beta.sum()
    return shares
