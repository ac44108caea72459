"""Distances, norms and order statistics of client updates, (K, P) float32 or bfloat16, which stay where they are.

P may be tens of millions, so nothing here makes a float64 or index copy of a whole matrix: sums are accumulated in
float64 over blocks of columns, and every pair of clients at once by a Gram matrix (:mod:`clipfed_bench.toolbox.gram`; 5
to 9 times faster than ``torch.cdist``, and exact where float32 accumulation is not).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clipfed_bench.toolbox.gram import RESOLUTION, gram, large
from clipfed_bench.toolbox.sums import blocks
from clipfed_bench.toolbox.sums import weighted_sum as weighted_sum  # as plug-ins have it from here


def row_norms(matrix: Tensor) -> Tensor:
    """Euclidean norm of each row of a (K, P) matrix: (K,) float64."""
    total = torch.zeros(len(matrix), dtype=torch.float64, device=matrix.device)
    for block in blocks(matrix):
        total += block.double().square().sum(dim=1)
    return total.sqrt()


def distances_to(matrix: Tensor, point: Tensor) -> Tensor:
    """Euclidean distance of each row of a (K, P) matrix to a (P,) point: (K,) float64."""
    total = torch.zeros(len(matrix), dtype=torch.float64, device=matrix.device)
    start = 0
    for block in blocks(matrix):
        total += (block.double() - point[start : start + block.shape[1]].double()).square().sum(dim=1)
        start += block.shape[1]
    return total.sqrt()


def clip_factors(norms: Tensor, bound: Tensor | float) -> Tensor:
    """min(1, bound / norm), by which vectors of these ``norms`` (K,) >= 0 are clipped to ``bound`` >= 0: (K,) float64.

    A norm of zero has the factor 1.
    """
    return torch.where(norms > bound, bound / norms, 1.0)


def pairwise_squared_distances(matrix: Tensor) -> Tensor:
    """Squared Euclidean distances between the rows of a (K, P) matrix: (K, K) float64, symmetric, zero diagonal.

    Rows are centered before the Gram matrix, at the row with the smallest norm: that keeps rows near each other
    accurate however far they are from zero (as the mean would), also beside one enormous row (as the mean would not).
    """
    products = gram(matrix, center=_shortest(matrix))
    square = products.diagonal()
    scale = square[:, None] + square[None, :]
    distances = scale - 2 * products
    return torch.where(distances > RESOLUTION * scale, distances, 0.0)


def pairwise_cosine_distances(matrix: Tensor) -> Tensor:
    """1 - cosine between the rows of a (K, P) matrix: (K, K) float64 in [0, 2], symmetric, zero diagonal.

    A row of zeros has no direction: it is at distance 0 from other rows of zeros and at 1 from any other row.
    """
    products = gram(matrix)
    norms = products.diagonal().sqrt()
    zero = norms == 0
    product = norms[:, None] * norms[None, :]
    cosine = torch.where(product > 0, products / product, (zero[:, None] & zero[None, :]).double())
    distances = (1 - cosine).clamp(0, 2)
    return torch.where(distances > RESOLUTION, distances, 0.0).fill_diagonal_(0)


def cosines(matrix: Tensor, vector: Tensor) -> Tensor:
    """Cosine between each row of a (K, P) matrix and a (P,) vector: (K,) float64 in [-1, 1]; 0 where one is zero."""
    dots = torch.zeros(len(matrix), dtype=torch.float64, device=matrix.device)
    start = 0
    for block in blocks(matrix):
        dots += block.double() @ vector[start : start + block.shape[1]].double()
        start += block.shape[1]
    product = row_norms(matrix) * row_norms(vector[None])
    return torch.where(product > 0, dots / product, 0.0).clamp(-1, 1)


def trimmed_mean(matrix: Tensor, trim: int) -> Tensor:
    """Mean over the first axis of (K, ...) without the ``trim`` smallest and largest of each column, 0 <= 2 trim < K.

    Returns (...) float32, float64 of a float64 matrix; the order of the rows does not matter, to the last bit. Raises
    ValueError for a ``trim`` that leaves nothing.
    """
    rows = len(matrix)
    if not 0 <= 2 * trim < rows:
        raise ValueError(f"trimming {trim} values from each end of {rows} leaves nothing")
    inner = (_sorted_rows(block)[trim : rows - trim] for block in blocks(matrix[:, None].flatten(1)))
    dtype = torch.promote_types(matrix.dtype, torch.float32)
    return torch.cat([part.double().mean(dim=0).to(dtype) for part in inner]).reshape(matrix.shape[1:])


def median(matrix: Tensor) -> Tensor:
    """Median over the first axis of (K, ...); for an even K the mean of the middle two (torch takes the lower)."""
    return trimmed_mean(matrix, (len(matrix) - 1) // 2)


def mean_around_median(matrix: Tensor, count: int, rows: Tensor | None = None) -> Tensor:
    """Mean of the ``count`` values that are nearest to the median, column by column, of the ``rows`` of (K, ...).

    The median of an even number is the mean of the middle two; of two values equally near to it the smaller is taken.
    ``rows`` (R,) int64 on the matrix's device, None for all; 1 <= count <= R. Returns (...) float32, float64 of a
    float64 matrix; the order of the rows does not matter, to the last bit.
    """
    dtype = torch.promote_types(matrix.dtype, torch.float32)
    means = []
    for block in blocks(matrix[:, None].flatten(1)):
        values = _sorted_rows(block if rows is None else block[rows]).double()
        chosen = len(values)
        middle = (values[(chosen - 1) // 2] + values[chosen // 2]) / 2
        # The nearest are neighbors in order: they start where a step up would no longer bring them closer.
        start = (middle - values[: chosen - count] > values[count:] - middle).sum(dim=0)
        nearest = values.gather(0, start + torch.arange(count, device=matrix.device)[:, None])
        means.append(nearest.mean(dim=0).to(dtype))
    return torch.cat(means).reshape(matrix.shape[1:])


def round_significant(values: Tensor, bits: int = 30) -> Tensor:
    """float64 ``values`` to ``bits`` significant bits (30: 9 digits), so that what is equal on paper compares equal."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(mantissa * 2.0**bits) / 2.0**bits, exponent)


def _shortest(matrix: Tensor) -> Tensor:
    """(1,) int64: the row with the smallest norm, by sums of float32 where a row that is nearly that will do."""
    if not large(matrix):
        return row_norms(matrix).argmin(dim=0, keepdim=True)
    total = torch.zeros(len(matrix), dtype=torch.float64)
    for block in blocks(matrix):
        total += torch.linalg.vector_norm(block, dim=1, dtype=torch.float32).square()
    return total.argmin(dim=0, keepdim=True)


def _sorted_rows(block: Tensor) -> Tensor:
    """Each column sorted. ``torch.sort`` also makes indices, and on a CPU takes 6 to 50 times as long as NumPy."""
    if block.device.type != "cpu":
        return block.sort(dim=0).values
    rows = block.float() if block.dtype == torch.bfloat16 else block  # which NumPy does not know
    return torch.from_numpy(np.sort(rows.numpy(), axis=0))
