"""Captions for images that come without: class names put into sentences that are true of any image of the class."""

from __future__ import annotations

from collections.abc import Sequence

from clipfed_bench.core.splits import Index
from clipfed_bench.data.class_names import spoken

PHOTO = (
    "a photo of a {}.",
    "a small photo of a {}.",
    "a photo of the {}.",
    "a low resolution photo of a {}.",
    "a picture of a {}.",
    "an image of a {}.",
)
"""Where a data set has no others, for pictures of things; the first is the usual zero-shot prompt [ours, after
OpenAI's CIFAR templates]."""


def expand(labels: Index, classes: Sequence[str], templates: Sequence[str]) -> tuple[str, ...]:
    """One caption per image: the i-th image of a class gets template i modulo their number."""
    seen = [0] * len(classes)
    captions = []
    for label in labels.tolist():
        captions.append(templates[seen[label] % len(templates)].replace("{}", spoken(classes[label])))
        seen[label] += 1
    return tuple(captions)
