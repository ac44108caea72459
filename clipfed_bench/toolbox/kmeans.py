"""K-means of a few points, and how many clusters there are by the gap statistic; on the CPU, in NumPy.

Lloyd, "Least squares quantization in PCM", 1982; Arthur and Vassilvitskii, "k-means++: The Advantages of Careful
Seeding", SODA 2007; Tibshirani, Walther and Hastie, "Estimating the number of clusters in a data set via the gap
statistic", JRSS B 2001. Many sets of points, and restarts of each, are clustered side by side: for ten points that is
far faster than one call of a library after the other.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

RESTARTS = 10
"""As in scikit-learn for many years [lineage]."""

Floats = NDArray[np.float64]


def kmeans(points: Floats, count: int, stream: torch.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Labels (S, n) from 0 of ``count`` <= n clusters of each of S sets of (S, n, d) points, and (S,) sums of squares.

    The best of :data:`RESTARTS` starts drawn from ``stream``. Depends on the order of the points, through the draws.
    """
    sets, size, _ = points.shape
    drawn = torch.rand(sets * RESTARTS, count, generator=stream, dtype=torch.float64).numpy()
    repeated = np.repeat(points, RESTARTS, axis=0)  # (S · restarts, n, d)
    centers = _seeds(repeated, drawn)
    labels = np.full(repeated.shape[:2], -1)
    for _ in range(300):
        distances = _distances(repeated, centers)
        nearest = distances.argmin(axis=2)
        if (nearest == labels).all():
            break
        labels = nearest
        members = (labels[:, :, None] == np.arange(count)).astype(float)
        sums, sizes = np.einsum("snk,snd->skd", members, repeated), members.sum(axis=1)[:, :, None]
        centers = np.where(sizes > 0, sums / np.maximum(sizes, 1), centers)  # an empty cluster stays where it was
    inertia = _distances(repeated, centers).min(axis=2).sum(axis=1).reshape(sets, RESTARTS)
    best = inertia.argmin(axis=1)
    return labels.reshape(sets, RESTARTS, size)[np.arange(sets), best], inertia.min(axis=1)


def cluster(points: Floats, most: int, stream: torch.Generator, references: int = 5) -> NDArray[np.int64]:
    """Labels (n,) from 0 of (n, d) ``points``, in as many clusters as the gap statistic says, at most ``most`` >= 1.

    The first k with Gap(k) >= Gap(k + 1) - s_{k+1}, in points scaled to [0, 1] coordinate by coordinate, against
    ``references`` sets of uniform points. There are fewer clusters than points, and no more than different ones.
    """
    spread = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    shape = (references, *points.shape)
    uniform = torch.rand(shape, generator=stream, dtype=torch.float64).numpy() * (spread > 0)
    sets = np.concatenate([scaled[None], uniform])
    labels, inertia = kmeans(sets, 1, stream)
    whole = inertia[0]
    for count in range(1, min(most, len(points) - 1)):
        if inertia[0] <= 1e-12 * whole:  # as many clusters as different points
            break
        more, further = kmeans(sets, count + 1, stream)
        error = math.sqrt(1 + 1 / references) * np.log(further[1:]).std()
        if _gap(inertia) >= _gap(further) - error:
            break
        labels, inertia = more, further
    found: NDArray[np.int64] = labels[0]
    return found


def _gap(inertia: Floats) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(inertia[1:]).mean() - np.log(inertia[0]))


def _seeds(points: Floats, drawn: Floats) -> Floats:
    """(R, k, d) of (R, n, d) points: the first at random, each other with a chance of its squared distance to them."""
    rows = np.arange(len(points))
    chosen = [points[rows, (drawn[:, 0] * points.shape[1]).astype(int)]]
    nearest = np.full(points.shape[:2], np.inf)
    for place in drawn.T[1:]:
        nearest = np.minimum(nearest, ((points - chosen[-1][:, None]) ** 2).sum(axis=2))
        reached = nearest.cumsum(axis=1)
        index = (reached <= (place * reached[:, -1])[:, None]).sum(axis=1)
        chosen.append(points[rows, np.minimum(index, points.shape[1] - 1)])
    return np.stack(chosen, axis=1)


def _distances(points: Floats, centers: Floats) -> Floats:
    """(R, n, k) squared distances of (R, n, d) and (R, k, d)."""
    found: Floats = ((points[:, :, None] - centers[:, None]) ** 2).sum(axis=3)
    return found
