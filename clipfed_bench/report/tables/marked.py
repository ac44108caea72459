"""What is said of a table's numbers beside what they are: the best, those apart from 0, and how much a 0.00 says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipfed_bench.report.tables.axes import OF_DEFENSE, Record
from clipfed_bench.report.tables.binomial import images
from clipfed_bench.report.tables.model import Entry, Place
from clipfed_bench.report.tables.signs import APART
from clipfed_bench.report.tables.statistics import LEVEL, holm, t_test
from clipfed_bench.runs.metrics import Metric

BOUND = (
    f"0.00 (≤ a bound): upper end of Wilson's {100 * LEVEL:g} % interval of a share of as many test images as one seed "
    "has."
)

FEWER = "n: seeds, where they are fewer than elsewhere."


def mark_best(
    entries: dict[Place, Entry], axes: Sequence[str], metrics: Sequence[Metric], decimals: int
) -> dict[Place, Entry]:
    """Compares places that differ in nothing but the defense; a defense alone is not the best of anything, and one
    that is not admissible neither."""
    rivals: defaultdict[Place, list[Place]] = defaultdict(list)
    for place, entry in entries.items():
        if entry.numbers:
            same = (value for axis, value in zip(axes, place, strict=True) if axis not in OF_DEFENSE)
            rivals[tuple(same)].append(place)
    marked = dict(entries)
    for places in rivals.values():
        for i, metric in enumerate(metrics):
            means = {place: mean for place in places if (mean := entries[place].numbers[i].mean) is not None}
            texts = {place: float(metric.text(mean, decimals)) for place, mean in means.items()}
            for place in metric.best(texts, [place for place in places if entries[place].admissible is not False]):
                numbers = list(marked[place].numbers)
                numbers[i] = replace(numbers[i], best=True)
                marked[place] = replace(marked[place], numbers=tuple(numbers))
    return marked


def corrected(
    entries: Mapping[Place, Entry], groups: Mapping[Place, Sequence[Record]], metrics: Sequence[Metric]
) -> tuple[dict[Place, Entry], tuple[str, ...]]:
    """``entries`` of differences with p values, corrected for all of them together, and what is to be said of those.

    ``groups`` are the cells of each place.
    """
    keys = [(place, i) for place, entry in entries.items() for i in range(len(entry.numbers))]
    found = [t_test(_known(groups[place], metrics[i].name)) for place, i in keys]
    values = dict(zip(keys, holm(found), strict=True))
    marked = {
        place: replace(entry, numbers=tuple(replace(n, p=values[place, i]) for i, n in enumerate(entry.numbers)))
        for place, entry in entries.items()
    }
    tests = sum(p is not None for p in found)
    what = f"p < {1 - LEVEL:.2g} in a paired t test, corrected for all {tests} of the table (Holm)"
    return marked, ((f"{APART}: apart from 0, {what}.",) if tests else ())


def bounded(entry: Entry, record: Record, metrics: Sequence[Metric]) -> Entry:
    """``entry`` with the numbers of test images that its shares are of; ``record`` is one of its cells."""
    numbers = zip(metrics, entry.numbers, strict=False)
    return replace(entry, numbers=tuple(replace(n, images=images(metric.name, record)) for metric, n in numbers))


def _known(group: Sequence[Record], metric: str) -> list[float]:
    done = (record.get(metric) for record in group if record["status"] == "done")
    return [value for value in done if value is not None]
