"""Bucketing: average clients in random buckets, and hand the averages to another defense.

Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022, Algorithm 1: n
clients are put in a random order and cut into ceil(n / s) buckets of s; each bucket's plain mean is an input of the
robust rule. Means differ less than clients with non-IID data do; at most f of them, a share of s f / n, hold anything
malicious, and that share is what the other defense is told to expect.

Its own part is a copy of 1 / s of the updates, besides what the other defense takes for as many.

Deviations: where s does not divide n the last bucket is smaller, and its mean is over its own clients. The other
defense sees a bucket as a client of all its images, and as another one in each round, so that one that remembers
clients (FoolsGold) knows none again. Where half of the buckets or more may hold something malicious
``bucketing_guarantee`` is 0. A client is accepted with its bucket. BatchNorm running statistics are averaged in the
same buckets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from baselines._wrapper import Wrapper
from baselines.krum import malicious_count
from clipfed_bench.api import ClientUpdates, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import Figure, to_device


@dataclass(frozen=True)
class Config:
    of: str = "krum"
    """The defense that aggregates the buckets, with its options; one that needs neither server data nor a teacher
    [ours]."""
    s: int = 2
    """Clients in a bucket, at least 1; 1 only shuffles [paper: Bucketing]."""


class Bucketing(Wrapper):
    name = "bucketing"
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        if config.s < 1:
            raise UserError(f"bucketing: s {config.s} is too small; a bucket holds at least 1 client.")
        super().__init__(config, server, min(config.s * server.assumed_malicious, 1.0))

    def mixed(self, updates: ClientUpdates, context: RoundContext) -> tuple[ClientUpdates, Tensor, dict[str, Figure]]:
        clients = len(updates)
        by_id = torch.tensor(sorted(range(clients), key=updates.clients.__getitem__))
        order = by_id[torch.randperm(clients, generator=context.generator("bucketing"))]
        buckets = torch.split(order, self.config.s)
        parts = torch.zeros(len(buckets), clients, dtype=torch.bool)
        deltas = updates.deltas.new_empty(len(buckets), updates.deltas.shape[1], dtype=torch.float32)
        buffers = torch.empty_like(updates.buffers[: len(buckets)])
        for row, bucket in enumerate(buckets):
            parts[row, bucket] = True
            mean = updates.select(bucket).mean(torch.ones(len(bucket)))
            deltas[row], buffers[row] = mean.delta, mean.buffers
        mixtures = replace(
            updates,
            deltas=deltas,
            buffers=buffers,
            num_samples=to_device(parts.double(), updates.num_samples.device) @ updates.num_samples,
            clients=tuple(range(context.round << 32, (context.round << 32) + len(buckets))),  # of no other round
        )
        guaranteed = 2 * malicious_count(self.server.assumed_malicious, clients) < len(buckets)
        return mixtures, parts, {"bucketing_buckets": float(len(buckets)), "bucketing_guarantee": float(guaranteed)}
