"""The look of scikit-learn's digits, which the server's glyphs share."""

from __future__ import annotations

import numpy as np
import torch

from clipfed_bench.core.splits import Bytes


def enlarge(small: Bytes | np.ndarray) -> Bytes:
    """(N, 8, 8) pixels in 0 … 16 as (N, 3, 32, 32) uint8, in 0 … 255, white on black.

    They are enlarged four times (bilinear: exact in binary arithmetic, so the same bytes everywhere) and repeated in
    three channels.
    """
    pixels = torch.from_numpy(np.asarray(small, dtype=np.float64)) * (255 / 16)
    large = torch.nn.functional.interpolate(pixels[:, None], scale_factor=4, mode="bilinear", align_corners=False)
    return large.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous().numpy()
