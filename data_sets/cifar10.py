"""CIFAR-10: 50,000 training and 10,000 test images of 10 classes

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.data.formats import folders, official, parquet


class CIFAR10(DataSource):
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    train_per_class = 5000
    test_per_class = 1000
    mean = (0.4914, 0.4822, 0.4465)
    forms = (parquet.form(), official.FORM, folders.FORM)
