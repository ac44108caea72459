"""Digests of what a cell was computed from, in its provenance: what each is of, and which cells are stale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREFIX = "digest_"
METRIC = "metric_"
"""Before the name of another package's metric, in provenance: of its source, which makes no cell stale."""

OF: Mapping[str, tuple[str, ...]] = {
    "simulator": (),
    "warmup": (),
    "model": ("model",),
    "partition": ("partition",),
    "attack": ("attack",),
    "defense": ("defense",),
    "data": ("dataset",),
    "server_data": ("server_data", "dataset", "imbalance_factor", "server_per_class"),
    "teacher": ("teacher", "dataset", "imbalance_factor", "server_data"),
    "templates": ("templates",),
}
"""Name of a digest -> settings of what it is of: cells that are alike in these have the same one."""

_WORDS = {"simulator": "the simulator", "warmup": "the warm-up's FedAvg", "data": "data set"}

UNKNOWN = "made before it was recorded what cells are computed from"


def subject(name: str, cell: Mapping[str, Any]) -> str:
    """``attack badnets``, ``the simulator``: what the digest called ``name`` is of in ``cell``, by its settings."""
    words = _WORDS.get(name, name.replace("_", " "))
    return f"{words} {cell[OF[name][0]]}" if OF[name] else words


def recorded(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The digests among ``provenance``, or in a row of the results."""
    return {name: value for name in OF if isinstance(value := provenance.get(PREFIX + name), str)}


def changed(cell: Mapping[str, Any], then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Why ``cell``, computed from what has the digests ``then``, is stale ``now``; nothing where it is not.

    What has no digest now cannot be compared, and is taken to be as it was.
    """
    if now and not then:
        return [UNKNOWN]
    return [f"{subject(name, cell)} changed" for name, value in now.items() if then.get(name) != value]
