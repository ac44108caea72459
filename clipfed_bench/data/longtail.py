"""Long-tailed training splits: exponential decay of the number of images over the classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipfed_bench.core.splits import Index
from clipfed_bench.data.arrays import first_per_class
from clipfed_bench.data.feasible import class_counts

__all__ = ["class_counts", "keep_mask"]


def keep_mask(labels: Index, factor: float, classes: int) -> npt.NDArray[np.bool_]:
    """Mask of the images that the long tail keeps: the first n_c of each class, n_max being the largest class.

    ``labels`` are in canonical order, so the choice is fixed: it depends on neither a cell's seed nor the source.
    """
    largest = int(np.bincount(labels, minlength=classes).max())
    return first_per_class(labels, class_counts(largest, factor, classes))
