"""FreqFed: keep the majority cluster by the low frequencies of the updates.

Fereidooni et al., "FreqFed: A Frequency Analysis-Based Approach for Mitigating Poisoning Attacks in Federated
Learning", NDSS 2024, Algorithm 1: a discrete cosine transform of each local model, its low-frequency components,
pairwise cosine distances of them, HDBSCAN, and FedAvg of the largest cluster.

Neither the paper's text nor code of its authors was available, and public re-implementations differ. As in one of them,
the transform is the orthonormal 2-D DCT-II of each parameter tensor as a matrix of outputs × everything else (1-D for
vectors); coefficients (u, v) with u + v <= half of the shorter side are low; HDBSCAN has FLAME's settings
(:mod:`clipfed_bench.toolbox.clustering`). Of a vector (a bias) of N entries that re-implementation keeps the lowest
coefficient alone, since its shorter side as a matrix is 1; here int(N / 2) + 1 are kept, the cut being at half of its
length.

Deviations: it is of updates, where Algorithm 1 writes models, whose cosines are all near 1. Within a convolution's row
the order is height, width, input, as the weights lie in memory. Updates of zeros are at distance 0 from each other and
at 1 from all others. The mean is plain, not weighted by the data sizes that clients claim. BatchNorm running statistics
are the plain mean over the kept clients and in no transform.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.clustering import majority_cluster
from clipfed_bench.toolbox.dct import dct1
from clipfed_bench.toolbox.device import Figure
from clipfed_bench.toolbox.distances import pairwise_cosine_distances


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
        spectra = self._spectra(updates.deltas)
        kept = majority_cluster(pairwise_cosine_distances(spectra))
        result = updates.mean(kept.double())
        info: dict[str, Figure] = {"freqfed_kept": kept.sum(), "freqfed_coefficients": float(spectra.shape[1])}
        return Aggregate(result.delta, result.buffers, kept, info)

    def _spectra(self, deltas: Tensor) -> Tensor:
        """The low frequencies of all layers of updates (K, P): (K, F) float32, up to a factor, which no cosine sees."""
        assert self.server.model is not None
        model = self.server.model()
        peaks = (
            torch.maximum(deltas.amax(dim=1), -deltas.amin(dim=1)).float().clamp(min=torch.finfo(torch.float32).tiny)
        )
        found: dict[str, Tensor] = {}
        for names, shape in alike(model.shapes):
            parts = []
            for some in _blocks(len(deltas), len(names) * math.prod(shape), deltas.device):
                layers = [deltas[some, model.layers[name]] for name in names]
                together = layers[0] if len(names) == 1 else torch.cat(layers)
                scaled = together.float() / peaks[some].repeat(len(names))[:, None]  # no sum overflows
                low = low_frequencies(scaled.reshape(-1, *shape), self.config.low)
                parts.append(low.view(len(names), -1, low.shape[1]))
            found |= zip(names, torch.cat(parts, dim=1), strict=True)
        return torch.cat([found[name] for name in model.shapes], dim=1)


def alike(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[list[str], tuple[int, int]]]:
    """Layers that are transformed at once (a matrix, or all vectors of a length), and their shape as matrices."""
    groups: dict[object, tuple[list[str], tuple[int, int]]] = {}
    for name, shape in shapes.items():
        vector = len(shape) == 1
        matrix = (1, shape[0]) if vector else (shape[0], math.prod(shape[1:]))
        groups.setdefault(matrix if vector else name, ([], matrix))[0].append(name)
    return list(groups.values())


def _blocks(rows: int, entries: int, device: torch.device) -> Iterator[slice]:
    """As many rows of ``entries`` values at a time as a CPU's cache holds or keep a GPU busy, at least one."""
    step = max(1, (1 << (18 if device.type == "cpu" else 25)) // entries)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def low_frequencies(matrices: Tensor, low: float) -> Tensor:
    """(N, F): coefficients (u, v) of the 2-D DCT-II of (N, R, C) ``matrices`` with u + v <= low · side, in row order.

    ``side`` is the shorter of R and C, or the longer where the shorter is 1.
    """
    rows, cols = matrices.shape[1:]
    side = min(rows, cols) if min(rows, cols) > 1 else max(rows, cols)
    last = int(low * side)
    across = dct1(matrices, last + 1)  # higher columns are not needed: half of the work or less
    both = dct1(across.transpose(1, 2), last + 1)  # (N, v, u)
    return both.flatten(1).index_select(1, _corner(both.shape[2], both.shape[1], last, both.device))


@lru_cache(maxsize=64)
def _corner(rows: int, cols: int, last: int, device: torch.device) -> Tensor:
    """(F,) int32: where (u, v) with u + v <= ``last`` are in a (v, u) matrix of ``cols`` × ``rows``, by u, then v."""
    u, v = np.ogrid[:rows, :cols]
    return torch.from_numpy((u + v * rows)[u + v <= last].astype(np.int32)).to(device)
