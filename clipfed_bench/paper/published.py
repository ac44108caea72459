"""What the paper published, in the words of our cells."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from clipfed_bench.components.registry import choose

SOURCE = "arXiv 2508.10315 v2, Tables 1 to 5; one run per cell, no spread"

_ABLATIONS = {
    "clip-fed-no-rectification": "clip-fed[rectify=false]",
    "clip-fed-no-transfer": "clip-fed[transfer=false]",
}

Published = dict[tuple[Any, ...], tuple[float, float]]
"""Place of a table -> published (MTA, ASR), fractions."""


def published(table: int, axes: Sequence[str]) -> Published:
    """The numbers of Table ``table``, by the values that ``axes`` (settings of a cell) have there."""
    rows = (row for row in _rows() if row["table"] == str(table))
    return {
        tuple(_value(row, axis) for axis in axes): (float(row["mta"]) / 100, float(row["asr"]) / 100) for row in rows
    }


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with (files("results.published") / "clip_fed.csv").open(encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def _value(row: dict[str, str], axis: str) -> Any:
    """The setting ``axis`` of a published row as a cell has it."""
    if axis == "attack":
        size = row["trigger_size"]
        return str(choose("attack", row["attack"] + (f"[size={size}]" if size else "")))
    if axis == "defense":
        return str(choose("defense", _ABLATIONS.get(row["defense"], row["defense"])))
    if axis == "dataset":
        return row["dataset"]
    return float(row[{"malicious": "malicious_fraction", "degree": "noniid_degree"}.get(axis, axis)])
