"""Items dealt to owners by shares, as several partitions do."""

from __future__ import annotations

from typing import Any

import numpy as np

from clipfed_bench.core.splits import Index


def cut(count: int, shares: np.ndarray[Any, Any]) -> Index:
    """(count,): the owner of each of ``count`` items in a row that is cut at the sums of ``shares`` (K,), in all 1."""
    # A float sum may end just above 1; searchsorted on the middles of equal steps needs no rounding rule.
    middles = (np.arange(count) + 0.5) / max(count, 1)
    return np.searchsorted(np.cumsum(shares)[:-1], middles, side="right")
