"""Multi-Metrics: judge clients by three metrics at once, which whitening weighs against each other anew in each round.

Huang et al., "Multi-metrics adaptively identifies backdoors in Federated learning", ICCV 2023.

1. Features of client i, of its model w_i and the global model w: the Manhattan distance |w_i - w|_1, the Euclidean
   distance |w_i - w|_2 and the cosine of w_i and w.
2. Of each feature the sum of its absolute differences to all other clients': x'_i of three entries.
3. Its score is (x'_i)ᵀ Σ⁻¹ x'_i, where Σ is the covariance of the x' over the clients of the round.
4. The share p of clients with the smallest scores is averaged, weighted by data size.

The paper's text was not available; its formulas are known from summaries. The authors' published code
(github.com/siquanhuang/Multi-metrics, ``defense.py``), read line by line, takes x'_i of pairs of models instead: the
sums over j of (1 - cos(w_i, w_j))², |w_i - w_j|_1 and ||w_i|_2 - |w_j|_2|. That is ``features = "pairwise"``, and takes
time quadratic in the number of clients, since no matrix product gives Manhattan distances.

Deviations: Σ is singular where features are collinear or constant, as of three clients or fewer; its pseudo-inverse is
taken, of features divided by their standard deviations, which changes no score where there is an inverse. int(p n)
clients are kept, but at least one. Equal scores go by client id. BatchNorm running statistics are the kept clients'
mean, and in no metric. Sums in float64 take about ten times as long as to read the updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import pairwise_squared_distances, round_significant, row_norms
from clipfed_bench.toolbox.sums import blocks


@dataclass(frozen=True)
class Config:
    keep: float = 0.3
    """p, the share of clients that is averaged; above 0, at most 1 [lineage: the authors' code]."""
    features: Literal["global", "pairwise"] = "global"
    """Metrics between each model and the global one [paper, by summaries], or between all models [lineage: code]."""


class MultiMetrics(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if not 0 < config.keep <= 1:
            raise UserError(f"multi-metrics: keep {config.keep} is not a share of clients above 0 and at most 1.")
        if config.features not in ("global", "pairwise"):
            raise UserError(f"multi-metrics: unknown features '{config.features}'; it is 'global' or 'pairwise'.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        deltas, params = updates.deltas, updates.global_params
        of = global_features if self.config.features == "global" else pairwise_features
        scores = round_significant(mahalanobis_scores(to_host(of(deltas, params))))
        ranked = sorted(zip(scores.tolist(), updates.clients, range(len(updates)), strict=True))
        kept = torch.zeros(len(updates), dtype=torch.bool)
        kept[[row for _, _, row in ranked[: max(int(self.config.keep * len(updates) + 1e-9), 1)]]] = True
        return updates.mean(updates.num_samples * kept.to(updates.num_samples.device), to_device(kept, deltas.device))


def global_features(deltas: Tensor, params: Tensor) -> Tensor:
    """x' (K, 3) float64 from updates (K, P) and the global model (P,), metric by metric to the global model."""
    manhattan, squares, dots = _sums(deltas, params)
    cosine = _cosine_distances(params, squares, dots)  # differences are those of the cosines
    metrics = round_significant(torch.stack([manhattan, squares.sqrt(), cosine], dim=1))
    return (metrics[:, None] - metrics).abs().sum(dim=1)


def pairwise_features(deltas: Tensor, params: Tensor) -> Tensor:
    """x' (K, 3) float64 from updates (K, P) and the global model (P,), metric by metric between the models."""
    _, squares, dots = _sums(deltas, params)
    own = row_norms(params[None]) ** 2
    norms = (own + 2 * dots + squares).clamp(min=0).sqrt()
    apart = pairwise_squared_distances(deltas)
    products = norms[:, None] * norms
    cosine_distance = torch.where(products > 0, (apart - (norms[:, None] - norms) ** 2) / (2 * products), 0.0)
    manhattan = pairwise_manhattan_distances(deltas)
    lengths = (norms[:, None] - norms).abs()
    return round_significant(torch.stack([cosine_distance.square(), manhattan, lengths], dim=2).sum(dim=1))


def mahalanobis_scores(features: Tensor) -> Tensor:
    """(K,) float64: xᵀ Σ⁻¹ x of each row x of ``features`` (K, F), Σ their covariance."""
    centered = features - features.mean(dim=0)
    varies = features.amax(dim=0) > features.amin(dim=0)
    deviations = torch.where(varies, centered.square().mean(dim=0).sqrt(), 1.0)
    scaled = torch.where(varies, features / deviations, 0.0)
    centered = torch.where(varies, centered / deviations, 0.0)
    inverse: Tensor = torch.linalg.pinv(centered.T @ centered / max(len(features) - 1, 1), rtol=1e-9, hermitian=True)
    return ((scaled @ inverse) * scaled).sum(dim=1)


def pairwise_manhattan_distances(matrix: Tensor) -> Tensor:
    """Sum of absolute differences between the rows of a (K, P) matrix: (K, K) float64, symmetric, zero diagonal."""
    total = torch.zeros(len(matrix), len(matrix), dtype=torch.float64, device=matrix.device)
    for part in blocks(matrix):
        block = part.double()
        for i in range(1, len(block)):
            total[i, :i] += (block[:i] - block[i]).abs_().sum(dim=1)
    return total + total.T


def _sums(deltas: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(K,) float64 each: |δ|_1, |δ|_2² and δ·w of the rows δ of ``deltas`` (K, P) and w = ``params`` (P,)."""
    manhattan, squares, dots = torch.zeros(3, len(deltas), dtype=torch.float64, device=deltas.device)
    start = 0
    for part in blocks(deltas):
        block = part.double()  # a copy, which may be overwritten
        ones = torch.ones_like(block[0])  # a product with them is several times as fast as a sum
        dots += block @ params[start : start + len(ones)].double()
        manhattan += block.abs_() @ ones
        squares += block.square_() @ ones
        start += len(ones)
    return manhattan, squares, dots


def _cosine_distances(params: Tensor, squares: Tensor, dots: Tensor) -> Tensor:
    """1 - cos(w, w + δ) (K,) float64 from w = ``params`` (P,) and |δ|², δ·w (K,); 0 where one is zero.

    |δ|² = (|w| - |w + δ|)² + 2 (|w| |w + δ| - w·(w + δ)): nothing is lost to cosines that are nearly 1.
    """
    own = row_norms(params[None])
    norms = (own**2 + 2 * dots + squares).clamp(min=0).sqrt()
    longer = (2 * dots + squares) / (own + norms)
    return torch.where(own * norms > 0, (squares - longer**2) / (2 * own * norms), 0.0)
