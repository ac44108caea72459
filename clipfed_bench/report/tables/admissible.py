"""Which defenses are admissible: those that keep the main task. A low ASR is cheap where nothing is learned.

A place of a table is admissible if its MTA is at most so many points below FedAvg's without an attack, mean of the
seeds that both have. Where that cell was not run, FedAvg's MTA under the same attack stands in for it, since backdoors
are made to leave it as it is; without either the place is not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.tables.axes import Record
from clipfed_bench.report.tables.paired import ALIKE, setting
from clipfed_bench.report.tables.signs import LOW

MARGIN = 5.0
"""Points of MTA that an admissible defense may lose [ours]."""

OF_ATTACK = ("attack", "target", "poison_ratio", "poison_rounding", "attack_start", "attack_stop", "attack_scale")
"""Settings that mean nothing in a cell without an attack."""

_SLACK = 1e-9
"""Of a share: means of the same figures in another order differ in their last bits."""

Key = tuple[Any, ...]


@dataclass
class References:
    """FedAvg's MTA without an attack and with one, by setting and seed, and how places were judged by it."""

    margin: float
    """Points."""
    clean: dict[Key, float] = field(default_factory=dict)
    attacked: dict[Key, float] = field(default_factory=dict)
    by: Counter[str] = field(default_factory=Counter)
    """Places judged by ``clean``, by ``attacked`` or by nothing (``none``)."""

    def judge(self, records: Sequence[Record]) -> bool | None:
        """Whether a place with these cells, alike but for the seed, is admissible; None where that is not known."""
        known = [record for record in records if record["status"] == "done" and record.get("mta") is not None]
        for name, found, key in (("clean", self.clean, _unattacked), ("attacked", self.attacked, _attacked)):
            lost = [found[key(record)] - record["mta"] for record in known if key(record) in found]
            if lost:
                self.by[name] += 1
                return fmean(lost) <= self.margin / 100 + _SLACK
        self.by["none"] += bool(known)
        return None

    def notes(self, low: bool) -> Iterator[str]:
        """Sentences on what was judged by what; ``low``: places are marked as not admissible."""
        if self.margin >= 100:
            return
        if low:
            yield f"{LOW}: MTA more than {self.margin:g} points below FedAvg's without an attack, and so never bold."
        whole, other, none = self.by.total(), self.by["attacked"], self.by["none"]
        if other:
            where = "" if other == whole else f" for {other} of {whole} places"
            yield f"FedAvg was not run without an attack{where}; its MTA under the same attack stands in for that."
        if none:
            where = "no place" if none == whole else f"{none} of {whole} places not"
            yield f"Without FedAvg's MTA {where} could be judged by what the main task loses."


def references(records: Sequence[Record], margin: float = MARGIN) -> References:
    """From the cells of a table. ``margin`` is in points; 100 makes every defense admissible. Raises UserError."""
    if not 0 <= margin <= 100:
        raise UserError(f"admissible: {margin:g} points are out of range; it must be from 0 to 100.")
    found = References(margin)
    for record in records:
        if record["status"] == "done" and record["defense_name"] == "fedavg" and record.get("mta") is not None:
            if record["attack_name"] == "none":
                found.clean[_unattacked(record)] = record["mta"]
            found.attacked[_attacked(record)] = record["mta"]
    return found


def _attacked(record: Record) -> Key:
    return (*setting(record), record["seed"])


def _unattacked(record: Record) -> Key:
    values = zip((*ALIKE, "held out"), setting(record), strict=True)
    return (*(value for name, value in values if name not in OF_ATTACK), record["seed"])
