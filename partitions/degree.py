"""Degree of non-IID q: a group of clients for each class, which gets the share q of it.

Client i belongs to group i mod C, so group sizes differ by at most one where C does not divide the number of clients.
An image of class l goes to group l with probability q, to each other group with (1-q)/(C-1), and to a uniformly drawn
client of the group. With equal groups, q = 1/C is IID in distribution.

Cao et al., "FLTrust", NDSS 2021, section VI-A; in the CLIP-Fed lineage, too. Deviations: the lineage's code cuts quotas
instead of drawing, and gives every client equally many images; here, as in FLTrust, the numbers vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.partition import Partition, Samples

if TYPE_CHECKING:
    import numpy as np

    from clipfed_bench.core.splits import Index


@dataclass(frozen=True)
class Config:
    degree: float = 0.4
    """q, the share of a class that its own group gets; 1/classes is IID [paper: 0.2 to 0.6]."""


class Degree(Partition):
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if not 0 <= config.degree <= 1:
            raise UserError(
                f"partition degree: degree is {config.degree}; a number from 0 to 1 is needed (paper: 0.2 to 0.6)."
            )

    def check(self, clients: int, counts: Sequence[int]) -> None:
        if clients < len(counts):
            raise UserError(
                f"partition degree: {clients} clients for {len(counts)} classes; each class has a group of clients, so "
                f"at least {len(counts)} clients are needed."
            )

    def assign(self, samples: Samples, clients: int, draw: np.random.Generator) -> Index:
        import numpy as np  # here, so that presets are listed without it

        labels, classes, count = samples.labels, samples.classes, len(samples)
        # 1. The group: that of the label with probability q, else another one, all alike.
        shift = draw.integers(1, classes, size=count) if classes > 1 else np.zeros(count, dtype=np.int64)
        own = draw.random(count) < self.config.degree
        group = np.where(own, labels, (labels + shift) % classes)
        # 2. A client of the group, all alike.
        sizes = np.bincount(np.arange(clients) % classes, minlength=classes)
        place = np.floor(draw.random(count) * sizes[group]).astype(np.int64)
        return group + classes * place
