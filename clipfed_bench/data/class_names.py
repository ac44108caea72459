"""Class names as sources write them, matched to a data set's classes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from clipfed_bench.core.errors import DataError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_ALIASES = {"cra": "crab"}  # the Hugging Face hub's cifar100 spells it so


def normalize(name: str) -> str:
    """Lower case with ``_`` between words."""
    name = "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())
    return _ALIASES.get(name, name)


def overlap(names: Sequence[str], classes: Sequence[str]) -> float:
    """Share of ``classes`` that occur in ``names``."""
    found = {normalize(n) for n in names}
    return sum(normalize(c) in found for c in classes) / len(classes)


def class_indices(names: Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    """The index in ``classes`` of each of ``names``.

    Raises DataError: a name is no class of the data set; the nearest one is suggested.
    """
    index = {normalize(c): i for i, c in enumerate(classes)}
    out = []
    for name in names:
        key = normalize(name)
        if key not in index:
            near = difflib.get_close_matches(key, index, n=1, cutoff=0.5)
            hint = f" Did you mean '{classes[index[near[0]]]}'?" if near else ""
            raise DataError(f"{where}: '{name}' is no class of the data set.{hint} Classes: {', '.join(classes)}.")
        out.append(index[key])
    return out


def spoken(class_name: str) -> str:
    """A class name as one would say it: ``aquarium_fish`` -> ``aquarium fish``."""
    return " ".join(class_name.replace("_", " ").split())
