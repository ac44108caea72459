"""A split of a data set as a source has it: arrays on the host, before anything makes tensors of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """One split as read from a source."""

    images: Bytes
    """(N, C, H, W) uint8."""
    labels: Index
    """(N,) int64 in 0 … classes - 1."""
    captions: tuple[str, ...] | None = None
    writers: Index | None = None
    """(N,) int64: who made each image, by any numbers; None where nobody knows."""

    def take(self, index: Index) -> Split:
        """The images at ``index``, in that order."""
        captions = None if self.captions is None else tuple(self.captions[i] for i in index.tolist())
        writers = None if self.writers is None else self.writers[index]
        return Split(self.images[index], self.labels[index], captions, writers)
