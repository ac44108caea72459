"""Fashion-MNIST: 60,000 training and 10,000 test images of 10 kinds of clothes, 28×28 gray

Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017.
"""

from __future__ import annotations

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.data.formats import folders, idx, parquet


class FashionMNIST(DataSource):
    classes = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
    image_shape = (1, 28, 28)
    train_per_class = 6000
    test_per_class = 1000
    # fmt: off
    aliases = (
        "T - shirt / top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )
    # fmt: on
    captions = ("a photo of a {}.", "a gray picture of a {}.", "a {} on a black ground.")
    teacher = "local"
    mean = (0.2860,)
    forms = (parquet.form(), idx.form("train", "t10k"), folders.FORM)
    obtain = (
        "Get it with torchvision.datasets.FashionMNIST(FOLDER, download=True), or as zalando-datasets/fashion_mnist "
        "from the Hugging Face hub."
    )
