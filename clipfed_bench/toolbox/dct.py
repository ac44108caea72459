"""The two-dimensional discrete cosine transform of batches of images, on any device.

Orthonormal DCT-II as a matrix D: the transform of X is ``D @ X @ D.T`` and its inverse ``D.T @ X @ D``, exact up to
rounding (``scipy.fft.dctn(..., norm="ortho")``), batched and differentiable. Coefficient (0, 0) is the lowest
frequency; being orthonormal, the transform keeps the sum of squares.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def dct_matrix(n: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """The (n, n) orthonormal DCT-II matrix, ``n >= 1``; row k is the k-th basis vector. Cached: do not write to it."""
    with torch.inference_mode(False):  # a tensor made in inference mode could never enter autograd afterwards
        frequency = torch.arange(n, dtype=torch.float64)[:, None]
        position = torch.arange(n, dtype=torch.float64)[None, :]
        matrix = torch.cos(math.pi / n * (position + 0.5) * frequency) * math.sqrt(2.0 / n)
        matrix[0] = math.sqrt(1.0 / n)
        return matrix.to(device, dtype)


def dct2(x: Tensor) -> Tensor:
    """DCT-II over the last two dimensions of a floating ``x`` (..., H, W); same shape, dtype and device."""
    rows, cols = _sides(x)
    return rows @ x @ cols.T


def idct2(x: Tensor) -> Tensor:
    """The inverse of :func:`dct2`."""
    rows, cols = _sides(x)
    return rows.T @ x @ cols


def dct1(x: Tensor, keep: int | None = None) -> Tensor:
    """DCT-II over the last dimension of a floating ``x`` (..., N) by FFT, for N whose matrix would be too large.

    ``keep`` >= 1: only that many coefficients, the lowest; the same to the bit, for half of the work or less.
    """
    size = x.shape[-1]
    keep = size if keep is None else min(keep, size)
    # Makhoul, "A Fast Cosine Transform in One and Two Dimensions", IEEE TASSP 1980: one FFT of length N.
    folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)
    spectrum = (torch.fft.rfft(folded) if keep <= size // 2 + 1 else torch.fft.fft(folded))[..., :keep]
    cos, sin = _twiddles(size, x.device, x.dtype)[:, :keep]
    result: Tensor = spectrum.real * cos + spectrum.imag * sin
    return result


@lru_cache(maxsize=64)
def _twiddles(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(2, N): what the real and the imaginary parts of the FFT are multiplied by."""
    with torch.inference_mode(False):
        angle = torch.arange(size, dtype=torch.float64) * (math.pi / (2 * size))
        scale = torch.full_like(angle, math.sqrt(2 / size))
        scale[0] = math.sqrt(1 / size)
        return torch.stack([scale * angle.cos(), scale * angle.sin()]).to(device, dtype)


def _sides(x: Tensor) -> tuple[Tensor, Tensor]:
    height, width = x.shape[-2:]
    return dct_matrix(height, x.device, x.dtype), dct_matrix(width, x.device, x.dtype)
