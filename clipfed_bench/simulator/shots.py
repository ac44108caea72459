"""Head, middle and tail of a long-tailed data set: its classes in three groups, by their training images.

Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019, Section 5: accuracy of many-shot classes
(more than 100 training images), medium-shot (20 to 100) and few-shot ones (fewer than 20). Deviations: thirds of the
classes, in the order of their training images, and equal ones in that of their labels; every class of CIFAR-10-LT at
the paper's imbalance factor is many-shot by their numbers. Of 10 classes 3, 4 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

LONG_TAIL = 2
"""Times the training images of the smallest class that the largest has in a long-tailed data set, at least [ours]."""


@dataclass(frozen=True)
class Shots:
    """The classes of a long-tailed data set in groups."""

    groups: Mapping[str, tuple[int, ...]]
    """``many``, ``medium`` and ``few`` -> labels."""
    images: tuple[int, ...]
    """Test images of each class."""


def shots(train: Tensor, test: Tensor, classes: int) -> Shots | None:
    """By the labels, int64 (N,), of training and test images; None where there is no long tail."""
    counts = torch.bincount(train, minlength=classes).tolist()
    if max(counts) < LONG_TAIL * min(counts):
        return None
    order, third = sorted(range(classes), key=lambda label: -counts[label]), max(1, classes // 3)
    parts = {"many": order[:third], "medium": order[third : classes - third], "few": order[classes - third :]}
    images = torch.bincount(test, minlength=classes).tolist()
    return Shots({name: tuple(part) for name, part in parts.items()}, tuple(images))


def accuracies(found: Shots, hits: list[float]) -> dict[str, float]:
    """``mta_many``, ``mta_medium`` and ``mta_few`` from the test images of each class that were classified correctly.

    Each is the mean of its classes' accuracies, of those that have test images; NaN without any.
    """
    shares = {label: hits[label] / count for label, count in enumerate(found.images) if count}
    known = {name: [shares[label] for label in part if label in shares] for name, part in found.groups.items()}
    return {f"mta_{name}": sum(part) / len(part) if part else float("nan") for name, part in known.items()}
