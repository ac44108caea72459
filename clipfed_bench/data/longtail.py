"""Long-tailed training splits: exponential decay of the number of images over the classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipfed_bench.data.arrays import Index, first_per_class
from clipfed_bench.errors import UserError


def class_counts(largest: int, factor: float, classes: int) -> list[int]:
    """n_c = int(n_max · IF^(-c/(C-1))) for classes c = 0 … C-1 [paper: exponential decay; formula inferred].

    >>> class_counts(5000, 10, 10)
    [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]

    Raises:
        UserError: the factor leaves a class without an image.
    """
    counts = [int(largest * factor ** (-c / (classes - 1))) for c in range(classes)]
    if min(counts) < 1:
        raise UserError(
            f"imbalance factor {factor:g} leaves the smallest class without an image; at most {largest} is possible."
        )
    return counts


def keep_mask(labels: Index, factor: float, classes: int) -> npt.NDArray[np.bool_]:
    """Mask of the images that the long tail keeps: the first n_c of each class, n_max being the largest class.

    ``labels`` are in canonical order, so the choice is fixed: it depends on neither a cell's seed nor the source.
    """
    largest = int(np.bincount(labels, minlength=classes).max())
    return first_per_class(labels, class_counts(largest, factor, classes))
