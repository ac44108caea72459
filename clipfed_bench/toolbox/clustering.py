"""Clusters of a round's clients, by HDBSCAN; the majority cluster as FLAME configures it.

Campello et al., "Density-Based Clustering Based on Hierarchical Density Estimates", PAKDD 2013; Nguyen et al., FLAME,
USENIX Security 2022: a cluster has more than half of the clients, n // 2 + 1. One sample for a core point and leave to
find a single cluster are how public implementations do it [lineage].

With these settings there can be one cluster only, and it has a closed form: let a threshold on the distance grow until
some connected component holds more than half of the clients; that component is the cluster. That is single linkage,
which scipy has without the half second that importing HDBSCAN takes; the tests check it against both libraries that
have HDBSCAN. So there is always a majority (three or more clients are never all noise), its size is often just above
half even without any attacker, and it does not depend on the order of clients.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import round_significant


def majority_cluster(distances: Tensor) -> Tensor:
    """Which clients belong to the majority, given their pairwise distances.

    ``distances`` (K, K), any float dtype, finite, >= 0, symmetric with a zero diagonal. Only their order matters, so
    squared and plain Euclidean distances give the same clients. Returns (K,) bool on the same device. One or two
    clients are all kept, and so are identical ones (all distances zero) and ones that are equally far apart.
    """
    count = len(distances)
    if count < 3:  # two clients cannot outvote each other, and HDBSCAN knows no cluster of one
        return torch.ones(count, dtype=torch.bool, device=distances.device)
    from scipy.cluster.hierarchy import fcluster, linkage  # takes time, and few defenses need it
    from scipy.spatial.distance import squareform

    merges = linkage(squareform(_rounded(distances), checks=False), "single")
    first = int((merges[:, 3] > count // 2).argmax())
    labels = fcluster(merges, merges[first, 2], "distance")  # with all that is joined at the same distance
    return to_device(torch.from_numpy(labels == np.bincount(labels).argmax()), distances.device)


def clusters(distances: Tensor, min_cluster_size: int = 2) -> Tensor:
    """Every cluster, of ``min_cluster_size`` >= 2 clients or more: (K,) int64 labels on the CPU, -1 for noise.

    ``distances`` as for :func:`majority_cluster`. Unlike there, all clients are never one cluster (they are all noise
    then), and where distances tie the result depends on the order of clients: hand them over in an order of their own.
    It depends on the library, too, so that this is the hdbscan package alone. Raises UserError where it is absent.
    """
    require_hdbscan("clustering")
    if len(distances) < max(3, min_cluster_size):
        return torch.full((len(distances),), -1)
    from hdbscan import HDBSCAN  # takes time, and one defense needs it

    model = HDBSCAN(min_cluster_size=min_cluster_size, min_samples=1, metric="precomputed")
    return torch.from_numpy(np.asarray(model.fit(_rounded(distances)).labels_, dtype=np.int64))


def clusters_of_points(points: Tensor, min_cluster_size: int) -> Tensor:
    """As :func:`clusters`, of (K, D) finite ``points`` at their Euclidean distances, by the library's own defaults.

    Core points have ``min_cluster_size`` others around them, so that many distances tie, and its search trees decide.
    """
    require_hdbscan("clustering")
    if len(points) < max(3, min_cluster_size):
        return torch.full((len(points),), -1)
    from hdbscan import HDBSCAN  # takes time, and one defense needs it

    labels = HDBSCAN(min_cluster_size=min_cluster_size).fit(to_host(points).numpy()).labels_
    return torch.from_numpy(np.asarray(labels, dtype=np.int64))


def require_hdbscan(what: str) -> None:
    """Raise UserError where the hdbscan package, which ``what`` cannot do without, is not installed."""
    if not importlib.util.find_spec("hdbscan"):
        raise UserError(
            f"{what} needs the package hdbscan, which is not installed, and scikit-learn's HDBSCAN clusters otherwise "
            "where distances tie; install it with: pip install hdbscan"
        )


def _rounded(distances: Tensor) -> NDArray[np.float64]:
    """Distances that are equal on paper must be equal here, or the order of clients would break the tie."""
    rounded: NDArray[np.float64] = round_significant(to_host(distances.detach()).double()).numpy()
    return rounded
