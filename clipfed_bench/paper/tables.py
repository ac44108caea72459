"""The paper's five tables: our means and spreads, the published value, and the difference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import scale
from clipfed_bench.paper.published import SOURCE, published
from clipfed_bench.report.tables.admissible import MARGIN, references
from clipfed_bench.report.tables.axes import Record
from clipfed_bench.report.tables.binomial import images
from clipfed_bench.report.tables.doubts import doubts, scene, working
from clipfed_bench.report.tables.footnotes import of_updates
from clipfed_bench.report.tables.marked import BOUND
from clipfed_bench.report.tables.model import Number, Place
from clipfed_bench.report.tables.signs import IDLE, LOW
from clipfed_bench.report.tables.table import over_seeds, plain_records
from clipfed_bench.report.tables.versions import versions
from clipfed_bench.runs.metrics import MAIN, METRICS


@dataclass(frozen=True)
class Layout:
    """How the paper lays a table out; each place holds MTA and ASR."""

    number: int
    title: str
    rows: tuple[str, ...]
    cols: tuple[str, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """Rows, then columns."""
        return (*self.rows, *self.cols)


LAYOUTS = {
    "table1": Layout(1, "MTA and ASR by data set, attack and defense", ("dataset", "defense"), ("attack",)),
    "table2": Layout(2, "Ablation of CLIP-Fed", ("dataset", "defense"), ("attack",)),
    "table3": Layout(3, "Share of malicious clients", ("defense",), ("malicious",)),
    "table4": Layout(4, "Degree of non-IID", ("degree", "defense"), ("dataset",)),
    "table5": Layout(5, "Trigger size and poisoning ratio", ("attack", "defense"), ("poison_ratio",)),
}


@dataclass(frozen=True)
class Value:
    """One metric in one place; fractions, None where there is none."""

    ours: Number
    """Over seeds."""
    published: float | None
    best_published: bool
    mark: str = ""
    """Signs behind ours that notes explain (:mod:`clipfed_bench.report.tables.signs`)."""

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        return None if self.ours.mean is None or self.published is None else self.ours.mean - self.published


@dataclass(frozen=True)
class PaperTable:
    """A table, free of any format. ``values``: (*row, *col, metric) -> value."""

    layout: Layout
    rows: tuple[Place, ...]
    cols: tuple[Place, ...]
    values: Mapping[Place, Value]
    notes: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """A row for each place: its settings, and of MTA and ASR ours, std, seeds, published and difference."""
        rows = []
        for place in (row + col for row in self.rows for col in self.cols):
            found: dict[str, Any] = {"table": self.layout.number, **dict(zip(self.layout.axes, place, strict=True))}
            for metric in MAIN:
                value = self.values[*place, metric]
                found |= {
                    metric: value.ours.mean,
                    f"{metric}_std": value.ours.std,
                    f"{metric}_seeds": value.ours.n,
                    f"{metric}_published": value.published,
                    f"{metric}_difference": value.difference,
                }
            rows.append(found | {"scale": self.notes[0]})
        frame = pd.DataFrame(rows)
        numbers = [f"{m}{end}" for m in MAIN for end in ("", "_std", "_published", "_difference")]
        return frame.astype(dict.fromkeys(numbers, "float64"))


def paper_table(
    name: str, cells: Sequence[CellSpec], results: pd.DataFrame, admissible: float = MARGIN, bounds: bool = False
) -> PaperTable:
    """Table ``name`` (``table1`` to ``table5``) of ``cells``, from the ``results`` that there are of them.

    Rows and columns are those of ``cells``, in their order; places without a finished cell have no value of ours. The
    best are among defenses that lose at most ``admissible`` points of FedAvg's MTA, of ours and of the published each.
    ``bounds`` puts the binomial bound beside ours of 0.
    Raises UserError for points out of range.
    """
    layout = LAYOUTS[name]
    known = published(layout.number, layout.axes)
    done = {row["key"]: row for row in plain_records(results) if row["status"] == "done"}
    places: dict[Place, list[CellSpec]] = {}
    for cell in cells:
        places.setdefault(_place(layout, cell), []).append(cell)
    found = {place: [done[c.key] for c in group if c.key in done] for place, group in places.items()}
    judged, works = references([*done.values()], admissible), working([*done.values()])
    low = {place for place, records in found.items() if judged.judge(records) is False}
    idle = {place for place, records in found.items() if records and works.get(scene(records[0])) is False}
    values = {}
    for group in _rivals(layout, places):
        published_low = _low(layout, {place: known[place][0] for place in group if place in known}, admissible)
        for i, metric in enumerate(MAIN):
            ours = {place: over_seeds([record[metric] for record in found[place]]) for place in group}
            means = {place: round(number.mean, 4) for place, number in ours.items() if number.mean is not None}
            best = METRICS[metric].best(means, means.keys() - low)
            theirs = {place: known[place][i] for place in group if place in known}
            best_published = METRICS[metric].best(theirs, theirs.keys() - published_low)
            for place in group:
                trials = images(metric, found[place][0]) if bounds and found[place] else None
                number = replace(ours[place], best=place in best, images=trials)
                mark = LOW * (place in low) + IDLE * (place in idle) if metric == "mta" else ""
                values[*place, metric] = Value(number, theirs.get(place), place in best_published, mark)
    split = len(layout.rows)
    return PaperTable(
        layout,
        tuple(dict.fromkeys(place[:split] for place in places)),
        tuple(dict.fromkeys(place[split:] for place in places)),
        values,
        (
            *_notes(layout, cells, places, values, done, admissible),
            *judged.notes(bool(low)),
            *((BOUND,) if bounds else ()),
            *doubts([*done.values()]),
        ),
    )


def _low(layout: Layout, mta: Mapping[Place, float], admissible: float) -> set[Place]:
    """Places of a group with an ``mta`` that is too far below FedAvg's; none where that is not known."""
    at = layout.axes.index("defense")
    least = next((share for place, share in mta.items() if place[at] == "fedavg"), 0.0) - admissible / 100
    return {place for place, share in mta.items() if round(share, 4) < round(least, 4)}


def _place(layout: Layout, cell: CellSpec) -> Place:
    values = cell.as_dict()
    return tuple(values[axis] for axis in layout.axes)


def agreement(layout: Layout, places: Iterable[Place], values: Mapping[Place, Value], metric: str) -> tuple[int, int]:
    """(pairs of defenses that are ordered as published, pairs with both values), over all settings of the table.

    Pairs that are equal in either, at the published two decimals of a per cent, are left out.
    """
    same = total = 0
    for group in _rivals(layout, places):
        found = (values[*place, metric] for place in group)
        known = [(v.ours.mean, v.published) for v in found if v.ours.mean is not None and v.published is not None]
        for (ours_a, theirs_a), (ours_b, theirs_b) in combinations(known, 2):
            ours, theirs = round(ours_a - ours_b, 4), round(theirs_a - theirs_b, 4)
            if ours and theirs:
                same, total = same + ((ours > 0) == (theirs > 0)), total + 1
    return same, total


def _rivals(layout: Layout, places: Iterable[Place]) -> Iterable[list[Place]]:
    """Places that differ in nothing but the defense."""
    at = layout.axes.index("defense")
    groups: defaultdict[Place, list[Place]] = defaultdict(list)
    for place in places:
        groups[place[:at] + place[at + 1 :]].append(place)
    return groups.values()


def _notes(
    layout: Layout,
    cells: Sequence[CellSpec],
    places: Iterable[Place],
    values: Mapping[Place, Value],
    done: Mapping[str, Record],
    admissible: float,
) -> Iterator[str]:
    yield f"Ours: {scale([cell.as_dict() for cell in cells])}."
    counts = sorted({values[*place, "mta"].ours.n for place in places} - {0})
    if counts and counts[-1] == 1:
        yield "One seed and so no spread; last evaluation."
    elif counts:
        fewer = f", in some places {counts[0]}" if len(counts) > 1 else ""
        yield f"Mean ± sample standard deviation over {counts[-1]} seeds{fewer}; last evaluation."
    yield from versions(done.values())
    yield f"Published: {SOURCE}; ResNet-18, CLIP ViT-L/14. Difference: ours minus published, in points."
    pairs = [(metric, *agreement(layout, places, values, metric)) for metric in MAIN]
    if any(total for _, _, total in pairs):
        text = ", ".join(f"{same} of {total} by {METRICS[metric].label}" for metric, same, total in pairs)
        yield f"Pairs of defenses that come in the published order: {text}."
    missing = sum(cell.key not in done for cell in cells)
    if missing:
        yield f"{missing} of {len(cells)} cells are not done, or failed."
    yield from of_updates([done[cell.key] for cell in cells if cell.key in done])
    among = " that keep the main task" if admissible < 100 else ""
    yield f"Bold: highest MTA and lowest ASR among defenses{among}, of ours and of the published values each."
