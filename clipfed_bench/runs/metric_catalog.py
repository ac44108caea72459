"""All metrics there are: the rows of :mod:`.metrics`, and those that other packages add.

They come by an entry point in the group ``clipfed_bench.metrics``; see :class:`clipfed_bench.api.Measurement`. Each
that is installed is recorded of every cell; keys of cells, and which are done or stale, do not depend on any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

from clipfed_bench.components.entry_points import Found, discover
from clipfed_bench.core.errors import unknown
from clipfed_bench.core.metric import Recorded
from clipfed_bench.core.notices import notice
from clipfed_bench.runs.metrics import METRICS, Metric
from clipfed_bench.runs.plugin_metrics import describe


@cache
def added() -> Found[Metric]:
    """The metrics of other packages, and why some of them cannot be used."""
    found = discover("metric", describe, taken=METRICS, dash="_")
    labels = Counter(metric.label.strip().casefold() for metric in (*METRICS.values(), *found.usable.values()))
    alike = {name: m for name, m in found.usable.items() if labels[m.label.strip().casefold()] > 1}
    told = "as another is; tables need two labels."
    why = {name: f"metric '{name}' of {m.module} is labelled {m.label}, {told}" for name, m in alike.items()}
    return Found({n: m for n, m in found.usable.items() if n not in alike}, found.broken | why)


def metrics() -> Mapping[str, Metric]:
    """Every metric by name; other people's are the last."""
    return {**METRICS, **added().usable}


def find_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics called ``names``, in that order. Raises UserError for one that does not exist."""
    known = metrics()
    for name in (names := tuple(names)):
        if name not in known:
            raise unknown("metric", name, known, added().broken)
    return tuple(known[name] for name in names)


def measured() -> tuple[Metric, ...]:
    """Those that have to be measured apart; what cannot be used is said once, and keeps nothing from being computed."""
    for reason in added().broken.values():
        notice(f"{reason} It is not recorded.")
    return tuple(metric for metric in metrics().values() if metric.measure is not None)


def final_figures(cell: Recorded) -> dict[str, float]:
    """Every metric of a cell that is done. Raises UserError where one of other people's goes wrong."""
    return {name: metric.final(cell) for name, metric in metrics().items()}
