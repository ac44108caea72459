"""Frequency-sensitivity augmentation, CLIP-Fed step (b): noise in the band that a visible trigger changes most.

Bands are cut by lines orthogonal to the main diagonal of the DCT spectrum; the k-th of K cuts lies at 1/2^(K-k) of the
diagonal's length from the low-frequency corner. The band is measured on the images at hand: at 32×32 the paper's K of
about 12 leaves bands 2 to 6 empty and one anti-diagonal in the 7th.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from clipfed_bench.toolbox.dct import dct2, idct2


def band_of(height: int, width: int, bands: int) -> Tensor:
    """The band, 0 (lowest frequencies) to ``bands - 1``, of each coefficient: (H, W) int64. Bands may be empty."""
    row, col = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    # Share of the diagonal at which the coefficient's orthogonal projection falls.
    place = (row[:, None] / max(height - 1, 1) + col[None, :] / max(width - 1, 1)) / 2
    cuts = torch.tensor([2.0 ** -(bands - k) for k in range(1, bands + 1)], dtype=torch.float64)
    return torch.searchsorted(cuts, place).clamp(max=bands - 1)


def band_mse(images: Tensor, trigger: Callable[[Tensor], Tensor], bands: int) -> Tensor:
    """Mean squared difference between the spectra of clean and triggered images in each band (Fig. 5).

    ``images`` (N, C, H, W) float32 in [0, 1]. Returns (bands,) float64; nan in bands without a coefficient.
    """
    error = (dct2(trigger(images)) - dct2(images)).double().square().mean(dim=(0, 1))
    band = band_of(images.shape[-2], images.shape[-1], bands).to(images.device)
    return torch.stack([error[band == k].mean() for k in range(bands)]).cpu()


def perturb_band(images: Tensor, band: int, bands: int, sigma: float, stream: torch.Generator) -> Tensor:
    """Images with Gaussian noise of standard deviation ``sigma`` on the coefficients of one band, clamped to [0, 1].

    ``images`` (N, C, H, W) float32 in [0, 1]; ``sigma`` in units of the orthonormal DCT of such images.
    """
    noise = torch.randn(images.shape, generator=stream).to(images.device) * sigma
    mask = (band_of(images.shape[-2], images.shape[-1], bands) == band).to(images.device)
    return idct2(dct2(images) + noise * mask).clamp(0, 1)


def augment(
    images: Tensor, trigger: Callable[[Tensor], Tensor], bands: int, noise: float, stream: torch.Generator
) -> tuple[Tensor, int, float]:
    """Perturbed copies of ``images`` (N, C, H, W) in [0, 1], the most sensitive band (0-based) and the noise's sigma.

    ``noise`` is relative: 1 makes the noise as strong, in that band, as the trigger's own change (root mean square).
    """
    error = band_mse(images, trigger, bands)
    band = int(torch.nan_to_num(error, nan=-1.0).argmax())
    sigma = noise * math.sqrt(float(error[band]))
    return perturb_band(images, band, bands, sigma, stream), band, sigma
