"""Label quota: each client holds images of a few classes alone.

Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022, "quantity-based label
imbalance" (#C = k): each client owns k labels, and the images of a label are divided evenly among its owners.

Deviations: the first label of client i is i mod C, so that every label has an owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipfed_bench.api import Partition, Samples
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.splits import Index


@dataclass(frozen=True)
class Config:
    classes: int = 2
    """k, the classes that each client holds [ours]."""


class LabelQuota(Partition):
    config: Config

    def check(self, clients: int, counts: Sequence[int]) -> None:
        if not 1 <= self.config.classes <= len(counts) or clients < len(counts):
            raise UserError(
                f"partition label-quota: {self.config.classes} classes for each of {clients} clients; from 1 to "
                f"{len(counts)} classes, and at least {len(counts)} clients, are possible."
            )

    def assign(self, samples: Samples, clients: int, draw: np.random.Generator) -> Index:
        owns = np.zeros((clients, samples.classes), dtype=bool)
        for client in range(clients):
            first = client % samples.classes
            others = np.delete(np.arange(samples.classes), first)
            owns[client, [first, *draw.permutation(others)[: self.config.classes - 1]]] = True
        owner = np.empty(len(samples), dtype=np.int64)
        for label in range(samples.classes):
            members = draw.permutation(np.flatnonzero(samples.labels == label))
            owners = np.flatnonzero(owns[:, label])
            owner[members] = owners[np.arange(len(members)) % len(owners)]
        return owner
