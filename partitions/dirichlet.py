"""Dirichlet: each class is shared out by its own draw from Dir(alpha · 1).

Hsu et al., "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019, in the
per-class form of Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022.

Deviations: none; a class's images, in random order, are cut at the cumulative shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.partition import Partition, Samples
from clipfed_bench.core.splits import Index
from clipfed_bench.toolbox.dealing import cut

_LARGEST = 1e9
"""Beyond, sums of gamma draws may overflow, and the partition is even long before."""


@dataclass(frozen=True)
class Config:
    alpha: float = 0.5
    """Concentration: 0.1 is skewed, 100 even [ours]."""


class Dirichlet(Partition):
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if not 0 < config.alpha <= _LARGEST:
            raise UserError(
                f"partition dirichlet: alpha is {config.alpha}; a number above 0, of at most {_LARGEST:g}, is needed "
                "(0.1 skewed, 100 even)."
            )

    def assign(self, samples: Samples, clients: int, draw: np.random.Generator) -> Index:
        owner = np.empty(len(samples), dtype=np.int64)
        for label in range(samples.classes):
            members = draw.permutation(np.flatnonzero(samples.labels == label))
            owner[members] = cut(len(members), draw.dirichlet(np.full(clients, self.config.alpha)))
        return owner
