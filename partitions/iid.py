"""IID: a random permutation in parts whose sizes differ by at most one.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipfed_bench.core.partition import Partition, Samples
from clipfed_bench.core.splits import Index


@dataclass(frozen=True)
class Config:
    """No options."""


class IID(Partition):
    config: Config

    def assign(self, samples: Samples, clients: int, draw: np.random.Generator) -> Index:
        return draw.permutation(np.arange(len(samples)) % clients)
