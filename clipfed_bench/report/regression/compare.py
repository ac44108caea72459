"""A run against a reference, cell by cell: what moved, and whether that is more than it may.

Cells made on a CPU by the same versions on the same kind of processor must be equal. Elsewhere rounding differs, few
rounds amplify it, and a figure may move by FACTOR times its sample standard deviation over the reference's seeds of
that setting, at least by its floor. A figure that is undefined on one side alone has always moved too far, unless older
versions did not measure it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any

import pandas as pd

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.regression.reference import FIGURES, PLATFORM, Reference, seeds_by_setting
from clipfed_bench.report.tables.axes import SETTINGS, Record
from clipfed_bench.report.tables.table import to_records
from clipfed_bench.runs.digests import recorded, subject
from clipfed_bench.runs.metrics import METRICS

FACTOR = 3.0
"""Sample standard deviations over seeds that a figure may move by on another machine [ours]."""

_FORMERLY = {"precision": "float32", "kernels": "torch"}
"""Provenance of cells that do not state it: when they were made, there was nothing else."""

Place = tuple[Any, ...]


@dataclass(frozen=True)
class Move:
    """A figure of a cell that moved by more than it may."""

    cell: Record
    figure: str
    before: float | None
    after: float | None
    tolerance: float
    """0 where equality was asked for."""

    @property
    def distance(self) -> float:
        """How far it moved; infinite where it is undefined on one side."""
        if self.before is None or self.after is None:
            return float("inf")
        return abs(self.after - self.before)

    @property
    def unmeasured(self) -> bool:
        """Whether an older version's cell lacks it."""
        return METRICS[self.figure].later and None in (self.before, self.after)


@dataclass(frozen=True)
class Comparison:
    """What became of the cells of a reference."""

    compared: int
    """Cells on both sides that are done."""
    exact: int
    """Those of them that had to be equal."""
    moves: tuple[Move, ...]
    missing: tuple[Record, ...]
    """Cells of the reference that the run does not have."""
    failed: tuple[Record, ...]
    """Cells of the run that failed, in the reference or not."""
    new: tuple[Record, ...]
    """Cells that are done and not in the reference."""
    within: int
    """Figures that moved by no more than they may."""
    platforms: tuple[str, ...]
    """Why cells did not have to be equal: what differs, from the reference to the run."""
    rekeyed: int
    """Cells with the same settings and another key: a default or a setting changed behind them."""
    changed: Mapping[str, int]
    """What cells were computed from in other versions than those of the reference, with the number of cells."""

    @property
    def passed(self) -> bool:
        """Nothing moved too far, failed or is missing; new cells are no regression."""
        return not (self.moves or self.missing or self.failed)


def compare_with(reference: Reference, results: pd.DataFrame) -> Comparison:
    """Compare ``results`` (see :meth:`clipfed_bench.runs.store.RunStore.frames`) with ``reference``.

    Cells are matched by all settings that the reference knows and the seed. Raises UserError where there are no
    results, and where two cells of one side cannot be told apart by that.
    """
    records = to_records(results)
    names = [name for name in (*SETTINGS, "seed") if name in reference.records[0]]
    before, after = _by_place(reference.records, names, "the reference"), _by_place(records, names, "the run")
    done = {place: record for place, record in after.items() if record["status"] == "done"}
    both = [place for place in before if place in done]
    figures = [name for name in FIGURES if name in reference.records[0] and name in records[0]]
    spreads = _spreads(reference.records, figures)
    moves: list[Move] = []
    within = exact = 0
    platforms: dict[str, None] = {}
    for place in both:
        differing = _differing(before[place], done[place])
        exact += not differing
        platforms |= dict.fromkeys(differing)
        for figure in figures:
            tolerance = 0.0
            if differing:
                tolerance = max(METRICS[figure].floor or 0.0, FACTOR * spreads[before[place]["key"], figure])
            move = Move(done[place], figure, before[place][figure], done[place][figure], tolerance)
            if move.before == move.after or move.unmeasured:
                continue
            if move.distance > tolerance:
                moves.append(move)
            else:
                within += 1
    return Comparison(
        compared=len(both),
        exact=exact,
        moves=tuple(moves),
        missing=tuple(record for place, record in before.items() if place not in after),
        failed=tuple(record for place, record in after.items() if place not in done),
        new=tuple(record for place, record in done.items() if place not in before),
        within=within,
        platforms=tuple(platforms),
        rekeyed=sum(before[place]["key"] != done[place]["key"] for place in both),
        changed=Counter(
            subject(name, done[place])
            for place in both
            for name, value in recorded(before[place]).items()
            if recorded(done[place]).get(name, value) != value
        ),
    )


def _by_place(records: Sequence[Record], names: Sequence[str], whose: str) -> dict[Place, Record]:
    found: dict[Place, Record] = {}
    for record in records:
        place = tuple(record[name] for name in names)
        if place in found:
            raise UserError(
                f"cells {found[place]['key']} and {record['key']} of {whose} have the same settings, as far as the "
                "reference knows settings. Remove one from the run, or make a new reference with --update."
            )
        found[place] = record
    return found


def _differing(one: Record, two: Record) -> list[str]:
    """Why ``two`` need not equal ``one``; nothing if it must."""
    if one.get("device") == two.get("device") and one.get("device") != "cpu":
        return [f"device {one.get('device')}, where sums have no fixed order"]
    before, now = (
        _FORMERLY | {name: value for name, value in each.items() if value is not None} for each in (one, two)
    )
    return [
        f"{name.removeprefix('version_')} {before.get(name, 'unknown')}, now {now.get(name, 'unknown')}"
        for name in PLATFORM
        if before.get(name) != now.get(name) or before.get(name, "unknown") == "unknown"
    ]


def _spreads(records: Sequence[Record], figures: Sequence[str]) -> Mapping[tuple[str, str], float]:
    """Sample standard deviation over seeds by key and figure; 0 where fewer than two seeds have the figure."""
    found: dict[tuple[str, str], float] = {}
    for group in seeds_by_setting(records).values():
        for figure in figures:
            values = [record[figure] for record in group if record[figure] is not None]
            spread = stdev(values) if len(values) > 1 else 0.0
            found |= {(record["key"], figure): spread for record in group}
    return found
