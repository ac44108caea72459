"""The words of a partition: what is divided among whom. No torch, and no numpy until something is divided."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from clipfed_bench.core.splits import Index


@dataclass(frozen=True)
class Samples:
    """The training images as a partition sees them: what they show, and who made them."""

    labels: Index
    """(N,) int64 in 0 … classes - 1."""
    classes: int
    writers: Index | None = None
    """(N,) int64: who made each image, by any numbers from 0; None where the data set does not know."""

    def __len__(self) -> int:
        return len(self.labels)


class Partition(ABC):
    """A way to divide the training images among the clients.

    Options called ``alpha`` or ``degree`` are the cell's settings of these names, so that tables and plots have an axis
    for them; their defaults are the settings'.
    """

    needs_writers: ClassVar[bool] = False
    """Whether it is for data sets alone that say who made each image."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def check(self, clients: int, counts: Sequence[int]) -> None:  # noqa: B027
        """Raise UserError where ``counts`` images of each class cannot be divided so; by default nothing is amiss.

        It is asked before data are read, for each cell of a grid.
        """

    @abstractmethod
    def assign(self, samples: Samples, clients: int, draw: np.random.Generator) -> Index:
        """The owner of each image, (N,) int64 in 0 … clients - 1.

        ``draw`` is the only source of chance. Clients that come away with fewer images than a cell demands are given
        some afterwards, by whoever calls it.
        """
