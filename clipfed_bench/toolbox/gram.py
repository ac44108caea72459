"""Inner products of all pairs of client updates, (K, P) float32 or bfloat16; of many long ones in less time.

:func:`gram` chooses. In :func:`double_gram` every sum is in float64. :func:`single_gram` multiplies blocks of columns
in float32, adds them up in float64, and computes again in float64 what float32 leaves inaccurate: rows that point
nearly the same way as another. So a squared distance or a 1 - cosine that is made of its entries is right to some 1e-6
of itself (public code of FLAME and Krum has float32 throughout).
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipfed_bench.toolbox.sums import blocks

LARGE = 2e10
"""Multiplications of a product from which float32 is taken on a CPU: K = 358 of P = 156,000, 43 ResNet-18 [ours].

Below it takes a second at most, and is exact.
"""

NEAR = 15 / 16
"""Cosine above which a pair is computed in float64: of 1 - cosine, then, an error of 1e-7 is over 2e-6 [ours]."""

RESOLUTION = 1e-14
"""Squared relative distance below which float32 rows count as identical: a few float32 roundings, (6e-8)² each.
Without it, duplicates would be some 1e-16 apart, by an amount that depends on the order of the rows."""

_SHORT = 1e-10
"""Norm below which float32 may lose squares: the smallest that it holds is 1e-45 [ours]."""

_COLUMNS = 2048
"""At least so many columns at a time: of a thousand clients, else, sums would be moved more than multiplied [ours]."""


def large(matrix: Tensor) -> bool:
    """Whether :func:`gram` of a (K, P) matrix is multiplied in float32: on a CPU, from :data:`LARGE` on."""
    rows, columns = matrix.shape
    return matrix.device.type == "cpu" and matrix.dtype != torch.float64 and rows * rows * columns >= LARGE


def gram(matrix: Tensor, center: Tensor | None = None) -> Tensor:
    """Inner products of the rows of a (K, P) matrix: (K, K) float64, symmetric.

    ``center``: (1,) int64, the row that is taken off all.
    """
    return (single_gram if large(matrix) else double_gram)(matrix, center)


def double_gram(matrix: Tensor, center: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
    """The same, every sum in float64; ``rows`` (R,) int64: of these alone, (R, R)."""
    count = len(matrix) if rows is None else len(rows)
    total = torch.zeros(count, count, dtype=torch.float64, device=matrix.device)
    add = _add_on_cpu if matrix.device.type == "cpu" else _add
    for part in blocks(matrix, least=_COLUMNS):
        chosen = part if rows is None else part[rows]
        block = chosen.to(torch.float64, copy=center is not None)  # what is written to must not be the caller's
        if center is not None:
            block -= part.index_select(0, center)
        add(total, block)
    return _mirrored(total)


def single_gram(matrix: Tensor, center: Tensor | None = None) -> Tensor:
    """The same of float32 or bfloat16 on a CPU, multiplied in float32.

    1. Products of a block of columns are float32, their sums over blocks float64. 2. Rows whose cosine with another row
    is above :data:`NEAR` are multiplied with each other again, and with themselves, in float64; of those that are the
    same, all products are the same. 3. Everything is float64 if float32 may not hold the square of a row.
    """
    from scipy.linalg.blas import ssyrk  # takes time, and few defenses need it

    total = torch.zeros(len(matrix), len(matrix), dtype=torch.float64)
    for part in blocks(matrix, least=2 * _COLUMNS):
        block = part.to(torch.float32, copy=center is not None, memory_format=torch.contiguous_format)
        if center is not None:
            block -= block[center]
        total += torch.from_numpy(ssyrk(1.0, block.numpy().T, trans=1, lower=0)).T
    total = _mirrored(total)
    norms = total.diagonal().sqrt()
    held = (norms > _SHORT) & norms.isfinite()
    if center is not None:
        held[center] = True  # zero, as it is taken off itself
    if not held.all():
        return double_gram(matrix, center)
    near = total > NEAR * norms[:, None] * norms[None, :]
    rows = near.fill_diagonal_(False).any(dim=1).nonzero().flatten()
    if len(rows):
        exact = double_gram(matrix, center, rows)
        total[rows[:, None], rows[None, :]] = exact
        first = torch.arange(len(matrix))
        first[rows] = rows[_same(exact).int().argmax(dim=1)]
        total = total[first[:, None], first[None, :]]
    return total


def _same(products: Tensor) -> Tensor:
    """Which rows are the same, by their ``products`` (R, R) float64: (R, R) bool."""
    square = products.diagonal()
    scale = square[:, None] + square[None, :]
    return scale - 2 * products <= RESOLUTION * scale


def _mirrored(product: Tensor) -> Tensor:
    """The lower triangle of ``product`` on both sides: a BLAS need not return a symmetric product."""
    lower = product.tril()
    return lower + lower.tril(-1).T


def _add(total: Tensor, block: Tensor) -> None:
    """Add ``block @ block.T`` to at least the lower triangle of ``total``."""
    total += block @ block.T


def _add_on_cpu(total: Tensor, block: Tensor) -> None:
    """The same in half of the multiplications: BLAS knows that a product is symmetric, torch does not ask it."""
    from scipy.linalg.blas import dsyrk  # takes time, and few defenses need it

    # A Fortran library sees each row-major matrix transposed: the upper triangle is its lower one.
    dsyrk(1.0, block.numpy().T, beta=1.0, c=total.numpy().T, trans=1, lower=0, overwrite_c=1)
