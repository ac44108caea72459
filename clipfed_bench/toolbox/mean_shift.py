"""Clusters around the peaks of the density of a few points, however many peaks there are.

Comaniciu and Meer, "Mean Shift: A Robust Approach Toward Feature Space Analysis", IEEE TPAMI 2002, with a flat kernel:
each point moves to the mean of the points within the bandwidth until it stands still. Peaks within the bandwidth of a
denser one are dropped, as in scikit-learn, with which the tests compare this; importing that takes most of a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_STEPS = 300
_EXACT = 1e-9
"""Distance below which points are one, whatever rounding does."""


def bandwidth_of(points: Points, quantile: float) -> float:
    """Mean distance of the (N, D) ``points`` to the farthest of their ``quantile`` · N nearest, themselves among them.

    At least to the nearest other one.
    """
    near = min(max(int(quantile * len(points)), 2), len(points))
    return float(np.sort(_distances(points, points), axis=1)[:, near - 1].mean())


def mean_shift(points: Points, bandwidth: float) -> NDArray[np.int64]:
    """Cluster of each of (N, D) ``points``, N >= 1: (N,), from 0 by falling density, -1 beyond the bandwidth of all.

    Neither the order of the points nor anything random matters.
    """
    order = np.lexsort(points.T)
    ordered, reach = points[order], max(bandwidth, _EXACT) + _EXACT
    peaks = _denser_first(*_climb(ordered, reach, 1e-3 * bandwidth))
    kept: list[Points] = []
    for peak in peaks:
        if all(np.linalg.norm(peak - other) > reach for other in kept):
            kept.append(peak)
    apart = _distances(ordered, np.array(kept))
    labels = np.empty(len(points), dtype=np.int64)
    labels[order] = np.where(apart.min(axis=1) <= reach, apart.argmin(axis=1), -1)
    return labels


def _climb(points: Points, reach: float, still: float) -> tuple[Points, NDArray[np.int64]]:
    """Where each point ends up, and how many points are within ``reach`` of there."""
    peaks = points.copy()
    moving = np.ones(len(points), dtype=bool)
    for _ in range(_STEPS):
        inside = (_distances(peaks[moving], points) <= reach).astype(np.float64)
        means = inside @ points / inside.sum(axis=1, keepdims=True)
        moved = np.linalg.norm(means - peaks[moving], axis=1)
        peaks[moving] = means
        moving[moving] = moved > max(still, _EXACT)
        if not moving.any():
            break
    return peaks, (_distances(peaks, points) <= reach).sum(axis=1)


def _denser_first(peaks: Points, density: NDArray[np.int64]) -> Points:
    """Rows of ``peaks`` by falling density, then by their coordinates, the largest first."""
    rounded = np.round(peaks, 9)
    return peaks[np.lexsort((*rounded.T[::-1], density))[::-1]]


def _distances(first: Points, second: Points) -> Points:
    """(N, M) Euclidean distances between rows."""
    found: Points = np.linalg.norm(first[:, None] - second[None], axis=2)
    return found
