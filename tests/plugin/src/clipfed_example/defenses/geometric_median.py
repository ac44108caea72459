"""Geometric median of the updates: the point with the smallest sum of distances to all of them.

Pillutla et al., "Robust Aggregation for Federated Learning", IEEE TSP 2022, Algorithm 2 (smoothed Weiszfeld): from the
mean, repeat w_i = n_i / max(ν, ‖v - Δ_i‖) and v = Σ w_i Δ_i / Σ w_i.

Deviations: BatchNorm running statistics are the mean with the weights of the last step.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.distances import row_norms


@dataclass(frozen=True)
class Config:
    steps: int = 4
    """Steps of the algorithm [ours: the paper's experiments take about as many]."""
    smoothing: float = 1e-6
    """ν, the distance below which an update counts as equal to the median [paper]."""


class GeometricMedian(Defense):
    config: Config

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        found = updates.mean(updates.num_samples)
        for _ in range(self.config.steps):
            distances = row_norms(updates.deltas - found.delta)  # (K,) float64; updates.deltas are (K, P) float32
            weights = to_device(updates.num_samples, distances.device) / distances.clamp(min=self.config.smoothing)
            found = updates.mean(weights)
        return found
