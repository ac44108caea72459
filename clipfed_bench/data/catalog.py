"""The names of the data sets and what is known about each, without importing torch.

Other packages add theirs by an entry point in the group ``clipfed_bench.datasets``; see
:class:`clipfed_bench.api.DataSource`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from clipfed_bench.components.entry_points import Found, discover
from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.data.info import CLIP, Info, describe

DATASETS: Mapping[str, str] = {
    "digits": "scikit-learn's 1,797 handwritten digits at 32×32, embedded: nothing to download",
    "digits-lt": "digits with a long-tailed training split (imbalance factor 10 unless stated)",
    "cifar10": "CIFAR-10: 50,000 training and 10,000 test images of 10 classes",
    "cifar10-lt": "CIFAR-10 with a long-tailed training split (imbalance factor 10 unless stated: 20,431 images)",
    "cifar100": "CIFAR-100: 50,000 training and 10,000 test images of 100 fine classes",
    "cifar100-lt": "CIFAR-100 with a long-tailed training split (imbalance factor 10 unless stated)",
}
"""Those that come with the package: name -> one-line description. :func:`datasets` has all."""

IMBALANCE_FACTOR = 10.0
"""n_max / n_min of a ``-lt`` training split [inferred from the paper's MTA]."""

DIGITS_TRAIN = (134, 136, 133, 137, 136, 136, 136, 134, 130, 135)
DIGITS_TEST = (44, 46, 44, 46, 45, 46, 45, 45, 44, 45)
"""Images of each digit."""
DIGIT_CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# fmt: off
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on


KNOWN: Mapping[str, Info] = {
    name: Info(name, DATASETS[name], classes, (n,) * len(classes), (m,) * len(classes), f"{name}-generated", CLIP, mean)
    for name, classes, n, m, mean in (
        ("cifar10", CIFAR10_CLASSES, 5000, 1000, (0.4914, 0.4822, 0.4465)),
        ("cifar100", CIFAR100_CLASSES, 500, 100, (0.5071, 0.4865, 0.4409)),
    )
}
"""Those that are downloaded, and so what a copy must look like: n training and m test images of each class."""


@cache
def added() -> Found[Info]:
    """The data sets of other packages, and why some of them cannot be used."""
    return discover("dataset", describe, taken=DATASETS)


def datasets() -> dict[str, str]:
    """Every data set: name -> one-line description."""
    names = dict(DATASETS)
    for name, found in added().usable.items():
        names |= {name: found.summary, f"{name}-lt": f"{name} with a long-tailed training split"}
    return names


def base_name(name: str) -> str:
    """The balanced original of a data set: ``cifar10`` of ``cifar10-lt``.

    Raises UserError: no data set has that name.
    """
    base = name.removesuffix("-lt")
    if name not in DATASETS and base not in added().usable:
        raise unknown("dataset", name, datasets(), added().broken)
    return base


def info(name: str) -> Info:
    """What is known of the original of data set ``name``. Raises UserError for an unknown name."""
    base = base_name(name)
    if base == "digits":  # for its server data see clipfed_bench.data.server_set.glyphs [ours]
        return Info(base, DATASETS[base], DIGIT_CLASSES, DIGITS_TRAIN, DIGITS_TEST, "glyphs", "local")
    return KNOWN[base] if base in KNOWN else added().usable[base]


def server_data(name: str) -> str:
    """The server data of data set ``name`` that are used when none are named. Raises UserError where there are none."""
    chosen = info(name).server_data
    if chosen is None:
        raise UserError(f"server data: {name} has none of its own; name a path, or holdout:N.")
    return chosen


def resolve_imbalance(name: str, factor: float | None) -> float:
    """The imbalance factor that a data set is cut with: 1 for a balanced one, 10 for ``-lt`` unless stated.

    Raises UserError: unknown name, a factor below 1, or a factor other than 1 for a balanced data set.
    """
    base = base_name(name)
    if name == base:
        if factor not in (None, 1):
            raise UserError(f"{name} is balanced: imbalance factor {factor:g} needs {name}-lt (or leave it out).")
        return 1.0
    if factor is None:
        return IMBALANCE_FACTOR
    if not 1.0 <= factor < float("inf"):
        raise UserError(f"{name}: imbalance factor {factor:g} is out of range; it is n_max / n_min, so at least 1.")
    return float(factor)
