"""Dynamic model filtering, CLIP-Fed step (c): PCA of the client models, then the majority cluster of HDBSCAN.

PCA of the client parameters and PCA of their updates are the same thing: they differ by a constant. The paper leaves
open the number of components and the metric after the projection.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipfed_bench.toolbox.clustering import majority_cluster
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import pairwise_cosine_distances, pairwise_squared_distances


def pca_scores(deltas: Tensor, components: int) -> Tensor:
    """Scores of the rows of ``deltas`` (K, P) on their first principal components: (K, min(components, K)) float64.

    Computed from the (K, K) Gram matrix of the centered rows, never from a (P, P) covariance, and on the CPU, where the
    scores stay. Signs are arbitrary.
    """
    squared = to_host(pairwise_squared_distances(deltas))
    # Double centering turns squared distances into the Gram matrix of the rows minus their mean.
    centered = squared - squared.mean(dim=0, keepdim=True) - squared.mean(dim=1, keepdim=True) + squared.mean()
    values, vectors = torch.linalg.eigh(-centered / 2)
    top = min(components, len(deltas))
    scores: Tensor = vectors[:, -top:].flip(1) * values[-top:].flip(0).clamp(min=0).sqrt()
    return scores


def filter_updates(deltas: Tensor, components: int, metric: str) -> Tensor:
    """Which clients to keep: the (K,) bool mask of S_t, from ``deltas`` (K, P).

    ``metric`` is ``euclidean`` or ``cosine`` on the scores. Clients that are all alike are all kept.
    """
    scores = pca_scores(deltas, components)
    distances = pairwise_cosine_distances if metric == "cosine" else pairwise_squared_distances
    return to_device(majority_cluster(distances(scores)), deltas.device)
