"""scikit-learn's 1,797 handwritten digits at 32×32, embedded: nothing to download

Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998: 1,797 images of 8×8 pixels with values
0 … 16, white on black, shown as :func:`clipfed_bench.data.digits.enlarge` says. The first quarter of each class in
canonical order, by SHA-256 of the 8×8 pixels, is the test split; the rest trains [ours].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.core.splits import Index, Split


class Digits(DataSource):
    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    train_per_class = (134, 136, 133, 137, 136, 136, 136, 134, 130, 135)
    test_per_class = (44, 46, 44, 46, 45, 46, 45, 45, 44, 45)
    captions = (
        "a photo of a {}.",
        "the digit {}.",
        "a handwritten {}.",
        "the number {} in white on black.",
        "a picture of the digit {}.",
    )
    teacher = "local"
    server_data = "glyphs"
    embedded = "sklearn/datasets/data/digits.csv.gz"
    source = "scikit-learn digits"

    def load(self, folder: Path) -> tuple[Split, Split]:
        """1,347 training and 450 test images."""
        from sklearn import datasets

        from clipfed_bench.data.arrays import canonical_order, first_per_class
        from clipfed_bench.data.digits import enlarge

        raw = datasets.load_digits()
        small = raw.images.astype(np.uint8)
        labels: Index = raw.target.astype(np.int64)
        order = canonical_order(small, labels)
        small, labels = small[order], labels[order]
        test = first_per_class(labels, self.test_per_class)
        images = enlarge(small)
        return Split(images[~test], labels[~test]), Split(images[test], labels[test])
