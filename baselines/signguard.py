"""SignGuard: keep clients whose update has a usual norm and a usual mix of signs, clip them, and average.

Xu, Huang, Song, Lan, "Byzantine-Robust Federated Learning through Collaborative Malicious Gradient Filtering", ICDCS
2022, Algorithm 2, and the authors' published code. With M the median norm of all updates, two filters work side by
side: norms from L M to R M pass; and shares of positive, zero and negative signs on a tenth of the coordinates, each
divided by its largest, are clustered by mean shift, of which the largest cluster passes. Who passes both is clipped to
M and averaged plainly.

It takes 5 to 11 times as long as reading the updates in one thread: norms are summed in float64, and a tenth of the
coordinates lies in nearly all of the memory.

Deviations: the coordinates are every tenth from a random first one on; the paper draws them, the code takes a random
segment. Mean shift starts at each client, not in cells of a grid, and its bandwidth reaches at least the nearest other
client, without which it has no width in rounds of two or three. Of clusters of the same size the densest passes. Where
nobody passes both, the norm decides alone; where no norm passes, the signs do. SignGuard-Sim and -Dist, which add a
similarity, are left out. BatchNorm running statistics are the plain mean of the kept: not clipped, and in no filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import Figure, to_device, to_host
from clipfed_bench.toolbox.distances import clip_factors, median, row_norms, weighted_sum
from clipfed_bench.toolbox.mean_shift import bandwidth_of, mean_shift
from clipfed_bench.toolbox.sums import blocks


@dataclass(frozen=True)
class Config:
    low: float = 0.1
    """L, 0 to 1: smallest norm that passes, over the median [paper: SignGuard]."""
    high: float = 3.0
    """R >= 1: largest norm that passes, over the median [paper: SignGuard]."""
    share: float = 0.1
    """Share of the coordinates whose signs are looked at, above 0 to 1; rounded to one of a whole number of them
    [paper: SignGuard]."""


class SignGuard(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if not 0 <= config.low <= 1:
            raise UserError(f"signguard: low {config.low} is not a share of the median norm from 0 to 1.")
        if config.high < 1:
            raise UserError(f"signguard: high {config.high} rejects the median norm; it must be at least 1.")
        if not 0 < config.share <= 1:
            raise UserError(f"signguard: share {config.share} is not a share of coordinates above 0 to 1.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        norms = row_norms(updates.deltas)
        bound = median(norms)
        usual = (norms >= self.config.low * bound) & (norms <= self.config.high * bound)
        step = min(round(1 / self.config.share), updates.deltas.shape[1])
        first = int(torch.randint(step, (), generator=context.generator("signguard")))
        alike = to_device(majority(to_host(sign_shares(updates.deltas[:, first::step]))), norms.device)
        both = usual & alike
        kept = torch.where(both.any(), both, torch.where(usual.any(), usual, alike))
        share = kept.double() / kept.sum()
        delta = weighted_sum(updates.deltas, share * clip_factors(norms, bound))
        info: dict[str, Figure] = {"signguard_norm": usual.sum(), "signguard_sign": alike.sum()}
        return Aggregate(delta, share.float() @ updates.buffers, kept, info)


def sign_shares(matrix: Tensor) -> Tensor:
    """Shares of positive, zero and negative entries in each row of (K, P): (K, 3) float64."""
    entries = matrix.shape[1]
    counts = torch.zeros(2, len(matrix), dtype=torch.float64, device=matrix.device)
    for block in blocks(matrix):
        counts += torch.stack([(block > 0).sum(dim=1), (block < 0).sum(dim=1)])
    positive, negative = counts
    return torch.stack([positive, entries - positive - negative, negative], dim=1) / entries


def majority(shares: Tensor) -> Tensor:
    """(K,) bool: the largest cluster, from the :func:`sign_shares` (K, 3) of the clients."""
    largest = shares.max(dim=0).values
    features = torch.where(largest > 0, shares / largest, 0.0).numpy()
    labels = mean_shift(features, bandwidth_of(features, 0.5))
    return torch.from_numpy(labels == np.bincount(labels[labels >= 0]).argmax())
