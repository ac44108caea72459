"""RFLBAT: two principal components of the updates, without outliers, and of their clusters the one least alike.

Wang et al., "RFLBAT: A Robust Federated Learning Algorithm against Backdoor Attack", arXiv 2201.03772, 2022. Neither
the paper's text nor code of its authors was available; what follows was checked against three re-implementations.

1. The updates are projected on their first two principal components.
2. A client is an outlier where the sum of its distances to the others is not below ε1 times the median of these sums.
3. The rest is clustered by k-means; the gap statistic says in how many clusters (:mod:`clipfed_bench.toolbox.kmeans`).
4. Of each cluster, the median over its clients of the mean cosine of a client's update and the others'. The cluster
   with the smallest is benign: attackers share a goal, and are more alike.
5. Outliers of that cluster are left out as in step 2, with ε2, and the others averaged plainly.

Deviations: where the re-implementations differ, the mean cosine of step 4 is to the others and not to oneself. A
cluster of one is no candidate, unless there are no others: then all clusters are kept. The gap statistic is that of its
authors, of squared distances. A sum that equals ε times the median is no outlier, so that equal clients are kept.
Points are handed over in the order of their clients' ids, on which the draws of k-means depend. Updates of zeros have
the cosine 0 to all others. BatchNorm running statistics are the kept clients' mean.

It takes over three times as long as reading the updates: products of all pairs of clients are summed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import median, pairwise_squared_distances, round_significant, row_norms
from clipfed_bench.toolbox.kmeans import cluster
from clipfed_bench.toolbox.pca import principal_scores


@dataclass(frozen=True)
class Config:
    eps1: float = 10.0
    """ε1 > 0, of the outliers of all clients [lineage: re-implementations]."""
    eps2: float = 4.0
    """ε2 > 0, of the outliers of the benign cluster [lineage: re-implementations]."""
    clusters: int = 10
    """Most clusters that the gap statistic may find, at least 1 [lineage: a re-implementation; others have 9 and 4]."""


class RFLBAT(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        for name in ("eps1", "eps2"):
            if getattr(config, name) <= 0:
                raise UserError(f"rflbat: {name} {getattr(config, name)} leaves nobody; it must be > 0.")
        if config.clusters < 1:
            raise UserError(f"rflbat: clusters {config.clusters} is too small; it must be at least 1.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        deltas = updates.deltas
        facts = to_host(torch.cat([pairwise_squared_distances(deltas), row_norms(deltas)[None]]))
        order = torch.tensor(sorted(range(len(updates)), key=updates.clients.__getitem__))
        facts = round_significant(facts)  # or the order of clients would decide what is drawn
        squared, norms = facts[:-1][order][:, order], facts[-1][order]
        chosen = self.choose(principal_scores(squared, 2), cosine_matrix(squared, norms), context)
        kept = torch.zeros(len(updates), dtype=torch.bool)
        kept[order[chosen]] = True
        result = updates.mean(kept.double())
        info = {"rflbat_kept": float(len(chosen))}
        return Aggregate(result.delta, result.buffers, to_device(kept, deltas.device), info)

    def choose(self, points: Tensor, cosines: Tensor, context: RoundContext) -> Tensor:
        """Steps 2 to 5: which clients to keep, ascending int64, from points (K, 2) and cosines (K, K)."""
        inliers = without_outliers(points, torch.arange(len(points)), self.config.eps1)
        stream = context.generator("rflbat-clusters")
        labels = torch.from_numpy(cluster(points[inliers].numpy(), self.config.clusters, stream))
        clusters = [inliers[labels == label] for label in range(int(labels.max()) + 1)]
        candidates = [members for members in clusters if len(members) > 1]
        if not candidates:
            return inliers
        benign = min(candidates, key=lambda members: (likeness(cosines, members), members[0].item()))
        return without_outliers(points, benign, self.config.eps2)


def without_outliers(points: Tensor, rows: Tensor, factor: float) -> Tensor:
    """Those of ``rows`` (R,) whose distances to the others sum up to ``factor`` times the median sum at most."""
    near = points[rows]
    distances = torch.cdist(near, near, compute_mode="donot_use_mm_for_euclid_dist")  # exact, also beside huge ones
    sums = round_significant(distances.sum(dim=1))
    inside = sums <= factor * median(sums)
    return rows[inside] if inside.any() else rows


def likeness(cosines: Tensor, members: Tensor) -> float:
    """Median over ``members`` (M >= 2,) of the mean cosine to the other members."""
    own = cosines[members][:, members]
    return float(round_significant(median((own.sum(dim=1) - own.diagonal()) / (len(members) - 1))))


def cosine_matrix(squared: Tensor, norms: Tensor) -> Tensor:
    """(K, K) float64 cosines of vectors from their squared distances (K, K) and norms (K,); 0 where one is zero."""
    product = norms[:, None] * norms
    return torch.where(product > 0, (norms[:, None] ** 2 + norms**2 - squared) / (2 * product), 0.0)
