"""Bulyan: Krum selects, one client after the other; then the mean of the values around each coordinate's median.

El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML 2018: of n
clients, f of them malicious, θ = n - 2f are selected, each by Krum among those that are left. Then each coordinate is
the mean of the β = θ - 2f values among the selected that are closest to their median.

It sorts each coordinate, as the trimmed mean does, and (K, K) distances θ times; so it takes longer than 3 times the
reading of the updates.

Deviations: the guarantee asks for n >= 4f + 3. Below that θ and Krum's neighbors are at least one and β at least the
middle value, or both middle values of an even θ, and ``bulyan_guarantee`` is 0: what is left is the median of few
clients, as close to the rule as the round allows. The median of an even number is the mean of the middle two, where the
paper takes one of the values. Ties of scores go to the lowest client id, of values to the smaller. BatchNorm running
statistics of the selected follow the same rule, and are in no distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines import krum
from clipfed_bench.api import Aggregate, ClientUpdates, RoundContext
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import mean_around_median, pairwise_squared_distances, round_significant


@dataclass(frozen=True)
class Config:
    malicious: float | None = None
    """Assumed share of malicious clients, 0 to below 0.5; f is that share of the round's clients, rounded up. None: the
    share that the server is told to expect [ours]."""


class Bulyan(krum.Krum):
    name = "bulyan"

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        clients, malicious = len(updates), krum.malicious_count(self.malicious, len(updates))
        theta, beta = sizes(clients, malicious)
        distances = to_host(pairwise_squared_distances(updates.deltas))
        selected = selection(distances, updates.clients, malicious, theta)
        kept = torch.zeros(clients, dtype=torch.bool)
        kept[selected] = True
        rows = to_device(torch.tensor(selected), updates.deltas.device)
        info = {"bulyan_malicious": float(malicious), "bulyan_guarantee": float(clients >= 4 * malicious + 3)}
        return Aggregate(
            mean_around_median(updates.deltas, beta, rows),
            mean_around_median(updates.buffers, beta, rows),
            to_device(kept, updates.deltas.device),
            info,
        )


def sizes(clients: int, malicious: int) -> tuple[int, int]:
    """(θ, β): how many clients are selected, and how many values of a coordinate are averaged; at least one each."""
    theta = max(clients - 2 * malicious, 1)
    return theta, max(theta - 2 * malicious, 2 - theta % 2)


def selection(distances: Tensor, clients: tuple[int, ...], malicious: int, count: int) -> list[int]:
    """Rows of the ``count`` clients that Krum selects one by one, from (K, K) squared distances on the CPU."""
    left, chosen = list(range(len(clients))), []
    for _ in range(count):
        scores = round_significant(krum.krum_scores(distances[left][:, left], malicious)).tolist()
        _, _, best = min(zip(scores, (clients[row] for row in left), left, strict=True))
        left.remove(best)
        chosen.append(best)
    return chosen
