"""Trimmed mean of the updates, coordinate by coordinate.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018, Definition 2 and
Algorithm 1, option II: the largest and the smallest share β of each coordinate's values are left out of their mean.

Deviations: int(β n) values are left out on each side, but at least one where β > 0 and n >= 3 (otherwise a small round
would silently be a plain mean), and never all of them. Without a β the share that the server expects is rounded up to
whole clients, since a round may have that many attackers. BatchNorm running statistics follow the same rule. No client
is selected or weighted.
"""

from __future__ import annotations

from dataclasses import dataclass

from baselines.krum import malicious_count
from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox import distances as geometry


@dataclass(frozen=True)
class Config:
    beta: float | None = None
    """β, the share trimmed on each side, 0 to below 0.5. None: the share of malicious clients that the server is told
    to expect, rounded up to whole clients [ours]."""


class TrimmedMean(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.beta is not None and not 0.0 <= config.beta < 0.5:
            raise UserError(f"trimmed-mean: beta {config.beta} is not a share of clients from 0 to below 0.5.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        beta, clients = self.config.beta, len(updates)
        most = (clients - 1) // 2
        expected = min(malicious_count(self.server.assumed_malicious, clients), most)
        trim = expected if beta is None else trim_count(beta, clients)
        return Aggregate(
            geometry.trimmed_mean(updates.deltas, trim),
            geometry.trimmed_mean(updates.buffers, trim),
            info={"trimmed_each_side": float(trim)},
        )


def trim_count(beta: float, clients: int) -> int:
    """Values left out on each side of ``clients``: int(β n), at least 1 where β > 0 and n >= 3, never all."""
    wanted = max(int(beta * clients + 1e-9), 1 if beta > 0 else 0)  # 0.29 * 100 < 29 in binary
    return min(wanted, (clients - 1) // 2)
