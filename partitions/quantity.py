"""Quantity skew: every client has the same mixture of classes, but some have far more images.

Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022, "quantity skew": the share of
all images that client j gets is q_j, drawn from Dir(beta · 1).

Deviations: none; all images, in random order, are cut at the cumulative shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.partition import Partition, Samples
from clipfed_bench.core.splits import Index
from clipfed_bench.toolbox.dealing import cut


@dataclass(frozen=True)
class Config:
    beta: float = 0.5
    """Concentration: smaller is more uneven [paper: Li et al.]."""


class Quantity(Partition):
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if not 1e-3 <= config.beta <= 1e9:
            raise UserError(f"partition quantity: beta is {config.beta:g}; it goes from 0.001 to 1e+09.")

    def assign(self, samples: Samples, clients: int, draw: np.random.Generator) -> Index:
        owner = np.empty(len(samples), dtype=np.int64)
        owner[draw.permutation(len(samples))] = cut(len(samples), draw.dirichlet(np.full(clients, self.config.beta)))
        return owner
