"""FLAME: keep the majority cluster by direction, clip to the median norm, add noise.

Nguyen et al., "FLAME: Taming Backdoors in Federated Learning", USENIX Security 2022, Algorithm 1: HDBSCAN on pairwise
cosine distances (lines 6-7), clipping of each kept update to S, the median Euclidean norm of all updates (lines 8-12),
plain mean (line 13), and Gaussian noise of standard deviation λ S on each parameter (lines 14-15).

Deviations: the cosine is between updates, where Algorithm 1 writes the models. HDBSCAN's settings are in
:mod:`clipfed_bench.toolbox.clustering`. Updates of zeros are never scaled; they are at distance 0 from
each other and at 1 from the rest, where public code has 1 between any two. BatchNorm running statistics are the plain
mean over the kept clients: no distance, no clipping, no noise. Noise is drawn where the updates are, so that a GPU
draws other noise for a seed than a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.clustering import majority_cluster
from clipfed_bench.toolbox.distances import median, pairwise_cosine_distances, row_norms, weighted_sum
from clipfed_bench.toolbox.rng import generator


@dataclass(frozen=True)
class Config:
    noise: float = 0.001
    """λ >= 0: noise standard deviation over the median norm; 0 switches noise off [paper: FLAME, for images]."""
    clip: bool = True
    """Clip kept updates to the median norm, lines 8-12; false is an ablation [lineage: FLAME]."""


class Flame(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.noise < 0:
            raise UserError(f"flame: noise {config.noise} is negative; it is a factor of 0 (no noise) or more.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        deltas = updates.deltas
        kept = majority_cluster(pairwise_cosine_distances(deltas))
        norms = row_norms(deltas)
        bound = median(norms)
        share = kept.double() / kept.sum()
        scale = (bound / norms).masked_fill(norms <= bound, 1.0) if self.config.clip else torch.ones_like(norms)
        delta = weighted_sum(deltas, share * scale)
        sigma = self.config.noise * bound
        if self.config.noise > 0:
            stream = generator(context.seed, "flame-noise", context.round, device=delta.device)
            delta += torch.randn(len(delta), generator=stream, device=delta.device).mul_(sigma.float())
        info = {"flame_clip": bound, "flame_kept": kept.sum(), "flame_sigma": sigma}
        return Aggregate(delta, share.float() @ updates.buffers, kept, info)
