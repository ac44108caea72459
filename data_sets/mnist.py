"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28×28 gray

LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE 1998.
"""

from __future__ import annotations

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.data.formats import folders, idx, parquet


class MNIST(DataSource):
    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    image_shape = (1, 28, 28)
    train_per_class = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    test_per_class = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    aliases = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    captions = ("the digit {}.", "a handwritten {}.", "the number {} in white on black.", "a picture of the digit {}.")
    teacher = "local"
    mean = (0.1307,)
    forms = (parquet.form(), idx.form("train", "t10k"), folders.FORM)
    obtain = (
        "Get it with torchvision.datasets.MNIST(FOLDER, download=True), or as ylecun/mnist from the Hugging Face hub."
    )
