"""Centered clipping: updates are clipped around the last aggregate, and averaged.

Karimireddy, He, Jaggi, "Learning from History for Byzantine Robust Optimization", ICML 2021, Algorithm 2:
from v, the aggregate of the round before (zero in the first), repeat v = v + 1/n Σ_i (Δ_i - v) min(1, τ / ‖Δ_i - v‖).

A step takes 6 to 9 times as long as reading the updates in one thread: differences and distances are in float64.

Deviations: clients send updates, not their momentum, which the paper's guarantee asks for. τ is the median distance to
v unless it is set, since no constant suits every model. BatchNorm running statistics are the plain mean, never
clipped. No client is selected. State: the last aggregate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import Figure
from clipfed_bench.toolbox.distances import clip_factors, distances_to, median, weighted_sum


@dataclass(frozen=True)
class Config:
    tau: float | None = None
    """τ > 0, how far from the center an update may be. None: the median distance of the round's updates [ours]."""
    steps: int = 1
    """Steps of a round, at least 1; each reads the updates twice [lineage: the authors' code]."""


class CenteredClip(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.tau is not None and config.tau <= 0:
            raise UserError(f"centered-clip: tau {config.tau} lets no update move the center; it must be > 0.")
        if config.steps < 1:
            raise UserError(f"centered-clip: steps {config.steps} is too small; it must be at least 1.")
        self._center: Tensor | None = None

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        center = torch.zeros_like(updates.global_params) if self._center is None else self._center
        for _ in range(self.config.steps):
            apart = distances_to(updates.deltas, center)
            tau = median(apart) if self.config.tau is None else self.config.tau
            factors = clip_factors(apart, tau)
            center = (1 - factors.mean()).float() * center + weighted_sum(updates.deltas, factors / len(updates))
        self._center = center.clone()
        info: dict[str, Figure] = {"centered_clip_tau": tau, "centered_clip_clipped": (factors < 1).sum()}
        return Aggregate(center, updates.buffers.mean(dim=0), info=info)

    def state(self) -> dict[str, Tensor]:
        return {} if self._center is None else {"center": self._center}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._center = state.get("center")
