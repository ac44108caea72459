"""Natural: the images of a writer stay together, for data sets that say who made each image.

Caldas et al., "LEAF: A Benchmark for Federated Settings", 2018, where each writer of FEMNIST is a client.

Deviations: with fewer clients than writers, these are dealt out in random order, and clients have equally many of them
to within one; LEAF leaves writers out instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.partition import Partition, Samples
from clipfed_bench.core.splits import Index


@dataclass(frozen=True)
class Config:
    """No options."""


class Natural(Partition):
    config: Config
    needs_writers = True

    def assign(self, samples: Samples, clients: int, draw: np.random.Generator) -> Index:
        assert samples.writers is not None
        found, writer = np.unique(samples.writers, return_inverse=True)
        if clients > len(found):
            raise UserError(
                f"partition natural: {clients:,} clients, but the images are of {len(found):,} writers, each of whom "
                f"belongs to one client; at most {len(found):,} clients are possible."
            )
        dealt = draw.permutation(len(found)) % clients
        return dealt[writer]
