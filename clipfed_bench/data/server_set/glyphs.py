"""Server data for ``digits``: digits of printed fonts, made to look like scanned handwriting.

Rendered from the fonts that matplotlib ships. Every glyph is distorted (scale, position, rotation, shear, a smooth
warp), given another stroke width (blur, then a threshold), and reduced as the handwritten ones were: black-and-white
at 32×32, counted in 4×4 blocks to 8×8 pixels of 0 … 16, enlarged by :func:`clipfed_bench.data.digits.enlarge`. No
handwritten digit is used, so it is to ``digits`` what generated images are to CIFAR-10. All ranges below are [ours].

Glyphs are the default for digits and ``holdout:30`` the upper bound. Measured on the 450 test digits (small CNN with
batch norm, 200 steps of 64, three seeds): trained on 3,000 glyphs 79.2 %, on 1,000 glyphs 75.7 %, on 30 held-out digits
per class 95.1 %. Held-out digits are the better data; but they are real ones, a fifth of all that the clients have.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from clipfed_bench.core.figures import load_matplotlib
from clipfed_bench.core.splits import Split
from clipfed_bench.data.digits import enlarge
from clipfed_bench.toolbox.rng import generator

PER_CLASS = 300
"""Glyphs of each digit unless stated; 300 taught a classifier 3.5 points more than 100 [ours]."""

_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmr10",
    "cmb10",
    "cmss10",
    "cmtt10",
)
_SIDE = 64
_SCALE = (0.92, 1.08)
"""Height relative to the whole image; handwritten digits fill theirs."""
_ASPECT = (0.70, 1.10)
_ROTATION = 0.20
"""Radians, either way."""
_SHEAR = 0.40
_SHIFT = 0.06
"""Of half the image's side."""
_WARP = 0.12
"""Standard deviation of the warp's control points, of half the image's side."""
_THRESHOLD = (0.08, 0.35)
"""Of the blurred glyph: low values give thick strokes."""


def font_files() -> list[Path]:
    """The font files used, those of them that the installed matplotlib has."""
    folder = Path(load_matplotlib().get_data_path()) / "fonts" / "ttf"
    return [path for path in (folder / f"{name}.ttf" for name in _FONTS) if path.is_file()]


def render(path: Path, digit: int) -> np.ndarray:
    """One glyph, cropped and scaled to fill three quarters of a (64, 64) float32 image in [0, 1]."""
    image = Image.new("L", (192, 192))
    ImageDraw.Draw(image).text((32, 16), str(digit), fill=255, font=ImageFont.truetype(str(path), 128))
    box = image.getbbox()
    assert box is not None
    glyph = image.crop(box)
    height = _SIDE * 3 // 4
    width = min(max(glyph.width * height // glyph.height, 4), height)
    out = Image.new("L", (_SIDE, _SIDE))
    out.paste(glyph.resize((width, height), Image.Resampling.LANCZOS), ((_SIDE - width) // 2, (_SIDE - height) // 2))
    return np.asarray(out, dtype=np.float32) / 255


def glyphs(per_class: int = PER_CLASS) -> Split:
    """``per_class`` distorted glyphs of each digit as (10 · per_class, 3, 32, 32) uint8, by class; always the same."""
    fonts = font_files()
    base = torch.from_numpy(np.stack([[render(path, digit) for digit in range(10)] for path in fonts]))
    labels = torch.arange(10).repeat_interleave(per_class)
    rng = generator(0, "glyphs")
    chosen = torch.randint(len(fonts), (len(labels),), generator=rng)
    large = F.grid_sample(base[chosen, labels][:, None], _grid(len(labels), rng), align_corners=False)
    blurred = F.avg_pool2d(F.avg_pool2d(large, 3, 1, 1), 3, 1, 1)
    ink = F.interpolate(blurred, size=32, mode="area") > _uniform(rng, len(labels), *_THRESHOLD)[:, None, None, None]
    small = F.avg_pool2d(ink.float(), 4)[:, 0] * 16
    return Split(enlarge(small.round().to(torch.uint8).numpy()), labels.numpy())


def _uniform(rng: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=rng)


def _grid(count: int, rng: torch.Generator) -> Tensor:
    """Where each output pixel is taken from, (count, 64, 64, 2) in [-1, 1]: an affine map plus a smooth warp."""
    scale = 0.75 / _uniform(rng, count, *_SCALE)
    aspect = _uniform(rng, count, *_ASPECT)
    angle = _uniform(rng, count, -_ROTATION, _ROTATION)
    shear = _uniform(rng, count, -_SHEAR, _SHEAR)
    shift = torch.stack([_uniform(rng, count, -_SHIFT, _SHIFT) for _ in range(2)], dim=-1)
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack([cos + shear * sin, -sin + shear * cos, sin, cos], dim=-1).view(count, 2, 2)
    stretch = torch.stack([scale / aspect, scale], dim=-1)[:, :, None]
    affine = torch.cat([rows * stretch, shift[:, :, None]], dim=2)
    grid = F.affine_grid(affine, [count, 1, _SIDE, _SIDE], align_corners=False)
    control = torch.randn(count, 2, 4, 4, generator=rng) * _WARP
    warp = F.interpolate(control, size=_SIDE, mode="bicubic", align_corners=True)
    return grid + warp.permute(0, 2, 3, 1)
