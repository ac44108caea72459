"""Frequency: an almost invisible trigger in the spectrum, FTrojan's or an amplitude mix.

``ftrojan`` — Wang et al., "An Invisible Black-Box Backdoor Attack through Frequency Domain", ECCV 2022: RGB to YUV, DCT
of U and V in windows of 32 × 32, add a magnitude to the coefficients at (31, 31) and (15, 15), and back. Every step but
the final clamp to [0, 1] is linear, so the whole is one constant pattern added to the pixels: that is how it is
computed. "YUV" is YCbCr of ITU-R BT.601, as in the authors' code (OpenCV's YCrCb). Deviations: nothing is cut to 8 bits
between the steps, where the authors' code truncates twice. The default magnitude, 20, is that of the authors' final
scripts for CIFAR-10; an earlier repository of theirs has 30. Window and positions must fit the images: those smaller
than 32 × 32 need others.

``amplitude`` — Feng et al., "FIBA: Frequency-Injection based Backdoor Attack in Medical Image Analysis", CVPR 2022:
inside a low-frequency window the amplitude of the image's 2-D Fourier spectrum is mixed with a trigger image's, (1 -
ratio) own + ratio trigger; the phase is kept. Deviations: the authors' code also trains on as many images with the
amplitudes of other pictures and their right labels; not here. Without an image file the trigger image is a seeded
mosaic, not a photograph; phases that are rounding noise (flat images) count as 0. Works for images of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.dct import idct2
from clipfed_bench.toolbox.triggers import DeviceConstant, check_share, pattern

_CHROMA_TO_RGB = (
    (0.0, 2 * (1 - 0.299)),  # red from (Cb, Cr)
    (-2 * (1 - 0.114) * 0.114 / 0.587, -2 * (1 - 0.299) * 0.299 / 0.587),  # green
    (2 * (1 - 0.114), 0.0),  # blue
)
"""ITU-R BT.601: what a change of (Cb, Cr) adds to red, green, blue; luma Y = .299 R + .587 G + .114 B stays."""

_MOSAIC_GRAIN = 8
"""Side of the mosaic's squares: noise (grain 1) has next to no amplitude in a low-frequency window to mix in."""


@dataclass(frozen=True)
class Config:
    variant: Literal["ftrojan", "amplitude"] = "ftrojan"
    """Which trigger: fixed DCT coefficients, or mixed Fourier amplitudes [ours]."""
    magnitude: float = 20.0
    """ftrojan: added to each coefficient of the orthonormal DCT, in units of 1/255 [paper: its code]."""
    positions: tuple[tuple[int, int], ...] = ((31, 31), (15, 15))
    """ftrojan: (row, column) of the coefficients in each window, from 0, the lowest frequency [paper: FTrojan]."""
    window: int = 32
    """ftrojan: side of the DCT windows that tile the image; divides height and width [paper: FTrojan]."""
    ratio: float = 0.15
    """amplitude: share of the trigger image's amplitude in the mix, 0 to 1 [paper: FIBA]."""
    share: float = 0.1
    """amplitude: the mixed window reaches ``int(share * image side)`` frequencies from 0, 0 to 0.5 [paper: FIBA]."""
    image: str | None = None
    """amplitude: trigger image file, resized to the data's size; none: a seeded mosaic [ours]."""
    seed: int = 0
    """amplitude: seed of the mosaic [ours]."""
    per_seed: bool = False
    """amplitude: draw another mosaic for each seed of the cells; false: all cells share one [ours]."""


class Frequency(Attack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        if config.variant == "ftrojan":
            self._added = DeviceConstant(ftrojan_pattern(config, context.image_shape))
        elif config.variant == "amplitude":
            check_share("frequency", "ratio", config.ratio)
            check_share("frequency", "share", config.share, most=0.5)
            seeds = (config.seed, context.seed) if config.per_seed else (config.seed,)
            image = pattern("frequency", config.image, context.image_shape, seeds, _MOSAIC_GRAIN)
            self._amplitude = DeviceConstant(torch.fft.rfft2(image).abs())
            self._weight = DeviceConstant(config.ratio * low_frequencies(config.share, context.image_shape))
        else:
            raise UserError(f"frequency: unknown variant '{config.variant}'; it is 'ftrojan' or 'amplitude'.")

    def trigger(self, images: Tensor) -> Tensor:
        if self.config.variant == "ftrojan":
            return (images + self._added.on(images.device)).clamp(0, 1)
        amplitude, weight = self._amplitude.on(images.device), self._weight.on(images.device)
        return mix_amplitudes(images, amplitude, weight).clamp(0, 1)


def ftrojan_pattern(config: Config, shape: tuple[int, int, int]) -> Tensor:
    """What FTrojan adds to the pixels of every image before the clamp: (3, H, W) float32, [0, 1] being full range."""
    channels, height, width = shape
    side = config.window
    if channels != 3:
        raise UserError(f"frequency: FTrojan changes the chroma of RGB images; these have {channels} channels, not 3.")
    if side < 1 or height % side or width % side:
        raise UserError(f"frequency: window {side} does not tile {height}×{width} images; it must divide both sides.")
    spectrum = torch.zeros(side, side, dtype=torch.float64)
    for position in config.positions:
        if len(position) != 2 or not all(0 <= index < side for index in position):
            raise UserError(
                f"frequency: position {position} is not a coefficient of a {side}×{side} window; "
                f"give (row, column), each 0 to {side - 1}."
            )
        spectrum[position] += config.magnitude / 255
    chroma = idct2(spectrum).repeat(height // side, width // side)
    gains = torch.tensor(_CHROMA_TO_RGB, dtype=torch.float64).sum(1)  # Cb and Cr get the same change
    return (gains[:, None, None] * chroma).float()


def low_frequencies(share: float, shape: tuple[int, int, int]) -> Tensor:
    """1 where both frequencies are at most ``int(share * min(H, W))``, else 0; (H, W // 2 + 1), laid out as rfft2."""
    _, height, width = shape
    reach = int(share * min(height, width))
    rows: Tensor = torch.fft.fftfreq(height, 1 / height).abs() <= reach
    cols: Tensor = torch.fft.rfftfreq(width, 1 / width) <= reach
    return (rows[:, None] & cols[None, :]).float()


def mix_amplitudes(images: Tensor, amplitude: Tensor, weight: Tensor) -> Tensor:
    """``images`` (B, C, H, W) with their rfft2 amplitudes moved to ``amplitude`` (C, H, W // 2 + 1) by ``weight``."""
    if len(images) == 0:  # Fourier transforms of nothing are an error in some backends
        return images.clone()
    spectrum = torch.fft.rfft2(images)
    own = spectrum.abs()
    noise = 1e-6 * images.shape[-2] * images.shape[-1]  # float32 rounding of a sum over all pixels in [0, 1]
    phase = torch.where(own > noise, spectrum.angle(), 0.0)
    mixed = torch.polar(torch.lerp(own, amplitude, weight.expand_as(own)), phase)
    back: Tensor = torch.fft.irfft2(mixed, s=images.shape[-2:])
    return back
