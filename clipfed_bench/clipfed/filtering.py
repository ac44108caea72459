"""Dynamic model filtering, CLIP-Fed step (c): PCA of the client models, then the majority cluster of HDBSCAN.

PCA of the client parameters and PCA of their updates are the same thing: they differ by a constant. The paper leaves
open the number of components and the metric after the projection.
"""

from __future__ import annotations

from torch import Tensor

from clipfed_bench.toolbox.clustering import majority_cluster
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import pairwise_cosine_distances, pairwise_squared_distances
from clipfed_bench.toolbox.pca import principal_scores


def pca_scores(deltas: Tensor, components: int) -> Tensor:
    """Scores of the rows of ``deltas`` (K, P) on their first principal components: (K, min(components, K)) float64.

    Computed on the CPU, where the scores stay. Signs are arbitrary.
    """
    return principal_scores(to_host(pairwise_squared_distances(deltas)), components)


def filter_updates(deltas: Tensor, components: int, metric: str) -> Tensor:
    """Which clients to keep: the (K,) bool mask of S_t, from ``deltas`` (K, P).

    ``metric`` is ``euclidean`` or ``cosine`` on the scores. Clients that are all alike are all kept.
    """
    scores = pca_scores(deltas, components)
    distances = pairwise_cosine_distances if metric == "cosine" else pairwise_squared_distances
    return to_device(majority_cluster(distances(scores)), deltas.device)
