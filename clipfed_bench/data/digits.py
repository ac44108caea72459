"""scikit-learn's handwritten digits as a 32×32 RGB data set.

Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998: 1,797 images of 8×8 pixels with values
0 … 16, white on black. They are scaled to 0 … 255, enlarged four times (bilinear: exact in binary arithmetic, so the
same bytes everywhere) and repeated in three channels. The first quarter of each class in canonical order, by SHA-256
of the 8×8 pixels, is the test split; the rest trains [ours].
"""

from __future__ import annotations

import numpy as np
import torch

from clipfed_bench.core.splits import Bytes, Index, Split
from clipfed_bench.data.arrays import canonical_order, first_per_class

TEST_SHARE = 0.25


def enlarge(small: Bytes | np.ndarray) -> Bytes:
    """(N, 8, 8) pixels in 0 … 16 as (N, 3, 32, 32) uint8, the data set's look."""
    pixels = torch.from_numpy(np.asarray(small, dtype=np.float64)) * (255 / 16)
    large = torch.nn.functional.interpolate(pixels[:, None], scale_factor=4, mode="bilinear", align_corners=False)
    return large.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous().numpy()


def load_digits() -> tuple[Split, Split]:
    """The train (about 1,350) and test (about 450) split, both in canonical order."""
    from sklearn import datasets

    raw = datasets.load_digits()
    small = raw.images.astype(np.uint8)
    labels: Index = raw.target.astype(np.int64)
    order = canonical_order(small, labels)
    small, labels = small[order], labels[order]
    counts = np.bincount(labels)
    test = first_per_class(labels, [round(TEST_SHARE * int(n)) for n in counts])
    images = enlarge(small)
    return Split(images[~test], labels[~test]), Split(images[test], labels[test])
