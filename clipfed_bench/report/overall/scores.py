"""What defenses are compared by over all settings: one figure for each defense, setting and seed, without gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipfed_bench.config.words import titled
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.tables.axes import OF_DEFENSE, Record, rank
from clipfed_bench.report.tables.doubts import scene, working
from clipfed_bench.report.tables.paired import ALIKE, Setting, setting
from clipfed_bench.runs.metrics import Metric

Floats = npt.NDArray[np.float64]

_OF_TRIGGER = ("asr", "asr_tail", "asr_max", "lifespan")
"""Metrics that mean nothing in a setting whose attack does not work."""


@dataclass(frozen=True)
class Scores:
    """A metric of every defense in every setting, as stored (fractions)."""

    metric: Metric
    attacks: tuple[str, ...]
    """Of each setting."""
    values: Mapping[str, tuple[Floats, ...]]
    """Defense -> for each setting (S,) figures of the seeds that all defenses have in it, in their order."""
    left_out: int
    """Settings that some defense has no cell for."""
    idle: int
    """Settings that are left out since their attack does not work without a defense."""

    @property
    def sign(self) -> float:
        """1 where higher is better, -1 where lower is."""
        return -1.0 if self.metric.better == "lowest" else 1.0

    def means(self) -> Floats:
        """(settings, defenses) means over seeds."""
        return np.array([[found.mean() for found in of_defense] for of_defense in self.values.values()]).T


def scores(records: Sequence[Record], metric: Metric) -> Scores:
    """Of the settings in which every defense has a seed in common with the others, defenses in their usual order.

    For figures of the trigger, settings without an attack, or with one that does not work without a defense, are none.
    Raises UserError where there are not two defenses with two settings in common, and for a metric that is neither
    better high nor low.
    """
    if metric.better is None:
        raise UserError(f"{metric.name} is neither better high nor low, so that defenses cannot be ranked by it.")
    done = [record for record in records if record["status"] == "done"]
    if not done:
        raise UserError("no cell of this run is done, so there is nothing to compare over settings.")
    works, label = working(done), names(done)
    counts = metric.name not in _OF_TRIGGER
    counted = [record for record in done if counts or works.get(scene(record), _attacked(record))]
    found: dict[Setting, dict[str, dict[int, float]]] = {}
    for record in counted:
        if (value := record.get(metric.name)) is not None:
            found.setdefault(setting(record), {}).setdefault(label(record), {})[record["seed"]] = value
    known = sorted({name for of_setting in found.values() for name in of_setting}, key=rank)
    common = {place: shared for place, cells in found.items() if (shared := _shared(cells, known))}
    if len(known) < 2 or len(common) < 2:
        raise UserError(
            f"defenses do not compare over settings by {metric.label}: it takes two with seeds in common in two "
            f"settings; here are {len(known)}, and {len(common)} such settings."
        )
    values = {
        name: tuple(np.array([found[place][name][seed] for seed in seeds]) for place, seeds in common.items())
        for name in known
    }
    attacks = tuple(str(place[ALIKE.index("attack")]) for place in common)
    idle = {setting(record) for record in done} - {setting(record) for record in counted}
    return Scores(metric, attacks, values, len(found) - len(common), len(idle))


def scored(records: Sequence[Record], metrics: Iterable[Metric]) -> tuple[list[Scores], list[str]]:
    """The scores of ``metrics``, and why some of them have none. Raises UserError where none has any."""
    found, reasons = [], []
    for metric in metrics:
        try:
            found.append(scores(records, metric))
        except UserError as error:
            reasons.append(str(error))
    if not found:
        raise UserError(reasons[0])
    return found, [f"{reason[:1].upper()}{reason[1:]}" for reason in reasons]


def _attacked(record: Record) -> bool:
    return bool(record["attack_name"] != "none")


def _shared(cells: Mapping[str, Mapping[int, float]], names: Sequence[str]) -> list[int]:
    """Seeds that every one of ``names`` has."""
    seeds = [set(cells.get(name, ())) for name in names]
    return sorted(set.intersection(*seeds))


def names(records: Sequence[Record]) -> Callable[[Record], str]:
    """How a record's defense is called: with its teacher and so on, where those of one name differ in them."""
    kinds: dict[str, list[Record]] = {}
    for record in records:
        kinds.setdefault(record["defense"], []).append(record)
    telling = {
        defense: [name for name in OF_DEFENSE[2:] if len({record[name] for record in same}) > 1]
        for defense, same in kinds.items()
    }
    return lambda record: ", ".join(
        [record["defense"], *(titled(name, record[name]) for name in telling[record["defense"]])]
    )
