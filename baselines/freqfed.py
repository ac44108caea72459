"""FreqFed: keep the majority cluster by the low frequencies of the updates.

Fereidooni et al., "FreqFed: A Frequency Analysis-Based Approach for Mitigating Poisoning Attacks in Federated
Learning", NDSS 2024, Algorithm 1: a discrete cosine transform of each local model, its low-frequency components,
pairwise cosine distances of them, HDBSCAN, and FedAvg of the largest cluster.

Neither the paper's text nor code of its authors was available, and public re-implementations differ. As in one of them,
the transform is the orthonormal 2-D DCT-II of each parameter tensor as a matrix of outputs × everything else (1-D for
vectors); coefficients (u, v) with u + v <= half of the shorter side are low; HDBSCAN has FLAME's settings
(:mod:`clipfed_bench.clustering`).

Deviations: it is of updates, where Algorithm 1 writes models, whose cosines are all near 1. Within a convolution's row
the order is height, width, input, as the weights lie in memory. The mean is plain, not weighted by the data sizes that
clients claim. BatchNorm running statistics are the plain mean over the kept clients and in no transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.clustering import majority_cluster
from clipfed_bench.dct import dct1
from clipfed_bench.errors import UserError
from clipfed_bench.geometry import pairwise_cosine_distances


@dataclass(frozen=True)
class Config:
    low: float = 0.5
    """Cut-off: low coefficients (u, v) have u + v <= low times the shorter side of the matrix, or the length of a
    vector; > 0 [lineage: re-implementations]."""


class FreqFed(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.low <= 0:
            raise UserError(f"freqfed: low {config.low} keeps no frequency; it must be > 0.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        spectra = torch.stack([self._spectrum(row.float()) for row in updates.deltas])
        kept = majority_cluster(pairwise_cosine_distances(spectra))
        result = updates.mean(kept.double())
        info = {"freqfed_kept": float(kept.sum()), "freqfed_coefficients": float(spectra.shape[1])}
        return Aggregate(result.delta, result.buffers, kept, info)

    def _spectrum(self, delta: Tensor) -> Tensor:
        """The low frequencies of all layers of one update (P,): (F,), up to a factor, which no cosine sees."""
        assert self.server.model is not None
        model = self.server.model()
        scaled = delta / delta.abs().max().clamp(min=torch.finfo(delta.dtype).tiny)  # no sum overflows
        parts = []
        for name, shape in model.shapes.items():
            rows = shape[0] if len(shape) > 1 else 1
            parts.append(low_frequencies(scaled[model.layers[name]].view(rows, -1), self.config.low))
        return torch.cat(parts)


def low_frequencies(matrix: Tensor, low: float) -> Tensor:
    """(F,): coefficients (u, v) of the 2-D DCT-II of an (R, C) ``matrix`` with u + v <= low · side, in row order.

    ``side`` is the shorter of R and C, or the longer where the shorter is 1.
    """
    rows, cols = matrix.shape
    side = min(rows, cols) if min(rows, cols) > 1 else max(rows, cols)
    last = int(low * side)
    across = dct1(matrix)[:, : last + 1]  # higher columns are not needed: half of the work or less
    both = dct1(across.T).T
    u = torch.arange(both.shape[0], device=matrix.device)[:, None]
    v = torch.arange(both.shape[1], device=matrix.device)[None, :]
    return both[u + v <= last]
