"""Shards: images sorted by class and cut into equal pieces, of which each client gets a few.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017, section 3:
"sort the data by digit label, divide it into 200 shards of size 300, and assign each of 100 clients 2 shards".

Deviations: images of a class are in random order, so that the seed decides what lies in a shard. Where the number of
shards does not divide that of the images, sizes differ by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.partition import Partition, Samples
from clipfed_bench.core.splits import Index


@dataclass(frozen=True)
class Config:
    per_client: int = 2
    """Shards that each client gets [paper: McMahan et al.]."""


class Shards(Partition):
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.per_client < 1:
            raise UserError(f"partition shards: per_client is {config.per_client}; it must be 1 or more.")

    def check(self, clients: int, counts: Sequence[int]) -> None:
        images, each = sum(counts), self.config.per_client
        if clients * each > images:
            raise UserError(
                f"partition shards: {clients:,} clients with per_client {each} make {clients * each:,} shards of "
                f"{images:,} images; at most {max(images // clients, 0)} each, or {images // each:,} clients, are "
                "possible."
            )

    def assign(self, samples: Samples, clients: int, draw: np.random.Generator) -> Index:
        count, shards = len(samples), clients * self.config.per_client
        # 1. Sort by class.
        mixed = draw.permutation(count)
        order = mixed[np.argsort(samples.labels[mixed], kind="stable")]
        # 2. Cut into shards, and deal these out.
        dealt = draw.permutation(shards) // self.config.per_client
        owner = np.empty(count, dtype=np.int64)
        owner[order] = dealt[np.arange(count) * shards // count]
        return owner
