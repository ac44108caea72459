"""Median of the updates, coordinate by coordinate.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018, Definition 1 and
Algorithm 1, option I. For an even number of clients it is the mean of the middle two.

Deviations: none. BatchNorm running statistics follow the same rule. No client is selected or weighted.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext
from clipfed_bench.toolbox import distances as geometry


@dataclass(frozen=True)
class Config:
    pass


class Median(Defense):
    config: Config

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        return Aggregate(geometry.median(updates.deltas), geometry.median(updates.buffers))
