"""Norm clipping: no update is longer than a bound; with noise it is "weak differential privacy".

Sun et al., "Can You Really Backdoor Federated Learning?", arXiv 1911.07963, 2019: each update is multiplied by
min(1, M / ‖Δ_i‖), FedAvg's mean is taken of them, and weak differential privacy adds Gaussian noise to it, of less
standard deviation than privacy would ask for.

It takes 4 to 7 times as long as reading the updates in one thread: norms are summed in float64.

Deviations: M is the median norm of the round's updates unless it is set, since no constant suits every model. BatchNorm
running statistics are FedAvg's mean: no clipping, no noise. No client is selected. Noise is drawn where the updates
are, so that a GPU draws other noise for a seed than a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import Figure, to_device
from clipfed_bench.toolbox.distances import clip_factors, median, row_norms, weighted_sum
from clipfed_bench.toolbox.rng import generator


@dataclass(frozen=True)
class Config:
    bound: float | None = None
    """M > 0, the largest Euclidean norm of an update. None: the median norm of the round's updates [ours]."""
    noise: float = 0.0
    """Standard deviation >= 0 of the noise on each parameter of the aggregate; 0: norm clipping alone [paper]."""


class NormClip(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.bound is not None and config.bound <= 0:
            raise UserError(f"norm-clip: bound {config.bound} leaves nothing of an update; it must be > 0.")
        if config.noise < 0:
            raise UserError(f"norm-clip: noise {config.noise} is negative; it must be 0 (no noise) or more.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        norms = row_norms(updates.deltas)
        bound = median(norms) if self.config.bound is None else self.config.bound
        factors = clip_factors(norms, bound)
        share = to_device(updates.num_samples / updates.num_samples.sum(), norms.device)
        delta = weighted_sum(updates.deltas, share * factors)
        if self.config.noise > 0:
            stream = generator(context.seed, "norm-clip-noise", context.round, device=delta.device)
            delta += torch.randn(len(delta), generator=stream, device=delta.device).mul_(self.config.noise)
        info: dict[str, Figure] = {"norm_clip_bound": bound, "norm_clip_clipped": (factors < 1).sum()}
        return Aggregate(delta, share.float() @ updates.buffers, info=info)
