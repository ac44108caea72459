"""EMNIST, balanced: 112,800 training and 18,800 test images of 47 characters, 28×28 gray

Cohen et al., "EMNIST: an extension of MNIST to handwritten letters", 2017: digits and letters, of which 15 have one
class for the capital and the small one, as they look alike.

Deviations: images are turned upright; the files hold them transposed.
"""

from __future__ import annotations

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.data.formats import idx


class EMNIST(DataSource):
    # fmt: off
    classes = (
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
        "capital A", "capital B", "letter C", "capital D", "capital E", "capital F", "capital G", "capital H",
        "letter I", "letter J", "letter K", "letter L", "letter M", "capital N", "letter O", "letter P", "capital Q",
        "capital R", "letter S", "capital T", "letter U", "letter V", "letter W", "letter X", "letter Y", "letter Z",
        "small a", "small b", "small d", "small e", "small f", "small g", "small h", "small n", "small q", "small r",
        "small t",
    )
    # fmt: on
    image_shape = (1, 28, 28)
    train_per_class = 2400
    test_per_class = 400
    captions = ("a handwritten {}.", "the character {}.", "a {} in white on black.")
    teacher = "local[flip=false,image_size=32]"
    forms = (idx.form("emnist-balanced-train", "emnist-balanced-test", transposed=True),)
    obtain = 'Get it with torchvision.datasets.EMNIST(FOLDER, split="balanced", download=True).'
