"""What is measured of a cell: one row a metric, and the function that makes its final figure of what was recorded.

History columns, final figures, tables, plots, tolerances of regressions and the documentation follow from the rows. A
row with ``measure`` adds what the simulator does not record: a number from a model's outputs for the test images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeVar

from clipfed_bench.core.metric import Recorded, TestOutputs
from clipfed_bench.runs.lifespan import PEAK, lifespan

Holder = TypeVar("Holder")

FLOOR = 0.03
"""What a fraction may move by in any case on another machine [ours]."""


@dataclass(frozen=True)
class Metric:
    """A final figure, as it is stored and as tables show it."""

    name: str
    label: str
    meaning: str
    better: str | None
    """``highest``, ``lowest``, or None where neither is better."""
    final: Callable[[Recorded], float]
    history: str | None = None
    """What the history's column of this name is; None where it has none."""
    kind: str = "fraction"
    """``fraction``, ``integer``, ``number`` or ``seconds``."""
    floor: float | None = FLOOR
    """What it may move by in any case on another machine; None: it tells of the machine, and is never compared."""
    signed: bool = False
    """Values are differences and have a sign."""
    measure: Callable[[TestOutputs], float] | None = None
    """What gives the history's value, where that is not among what every evaluation has anyway."""
    later: bool = False
    """Older versions did not measure it, so that their cells have none."""
    module: str | None = None
    """Where it is, if another package adds it."""

    @property
    def scale(self) -> float:
        """Factor on the stored number: 100 turns fractions into per cent."""
        return 100.0 if self.kind == "fraction" else 1.0

    @property
    def axis(self) -> str:
        """What stands beside an axis of a plot of fractions: ``MTA (%)``."""
        return f"{self.label} (%)"

    def text(self, value: float, decimals: int) -> str:
        """``value`` as stored -> as shown."""
        return f"{self.scale * value:{'+' if self.signed else ''}.{decimals}f}"

    def difference(self) -> Metric:
        """The same of differences, of which none is the best."""
        return replace(self, better=None, signed=True)

    def best(self, values: Mapping[Holder, float], among: Iterable[Holder] | None = None) -> set[Holder]:
        """Who has the best of several values, ``among`` some of those that have one, or all.

        Nobody where neither is better, or there is one alone.
        """
        known = values if among is None else {holder: values[holder] for holder in among if holder in values}
        if self.better is None or len(values) < 2 or not known:
            return set()
        best = (max if self.better == "highest" else min)(known.values())
        return {holder for holder, value in known.items() if value == best}


def _last(name: str) -> Callable[[Recorded], float]:
    return lambda cell: cell.evaluations[-1][name]


def _last_known(name: str) -> Callable[[Recorded], float]:
    """Of what is not measured everywhere."""
    return lambda cell: cell.evaluations[-1].get(name, math.nan)


def _start(name: str) -> Callable[[Recorded], float]:
    return lambda cell: cell.evaluations[0][name]


def _tail(name: str) -> Callable[[Recorded], float]:
    return lambda cell: fmean(row[name] for row in cell.tail())


def _highest(name: str) -> Callable[[Recorded], float]:
    return lambda cell: max(row[name] for row in cell.evaluations[1:])


def _total(name: str) -> Callable[[Recorded], float]:
    return lambda cell: sum(row[name] for row in cell.evaluations)


def _of_rounds(name: str) -> Callable[[Recorded], float]:
    return lambda cell: mean_known(row[name] for row in cell.judged)


def _dropped(cell: Recorded) -> float:
    return sum(row["dropped"] for row in cell.judged)


def _lifespan(cell: Recorded) -> float:
    return lifespan(cell.evaluations, cell.attacked)


def mean_known(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


_MTA = "accuracy on clean test images"
_ASR = "share of triggered test images of other classes that are taken for the target"
_CLEAN = "share of clean test images of other classes that are taken for the target"
_MEAN = "mean over the evaluations in the last 10 % of rounds"
_SINCE = "since the evaluation before"
_REJECTED = "updates that the defense rejected, of those that were finite, mean of the rounds"
_ATTACKERS = "malicious clients in a round, with a finite update, mean of the attacked rounds"
_SPENT = {
    "local": "local training",
    "attack": "crafting malicious updates",
    "defense": "the defense",
    "purify": "the defense's work on the aggregated model",
    "eval": "evaluation",
}


def _seconds(part: str, what: str) -> Metric:
    text, name = f"seconds of {what}", f"seconds_{part}"
    history = f"{text}, {_SINCE}"
    return Metric(name, f"s {part}", f"{text}, whole cell", "lowest", _total(name), history, "seconds", None)


def _detection(name: str, whose: str, better: str) -> Metric:
    meaning = f"share of {whose} {_REJECTED}"
    history = f"{meaning} {_SINCE}"
    # A client judged otherwise in one of few rounds moves a rate by a step.
    return Metric(name, name.upper(), meaning, better, _of_rounds(name), history, floor=0.25)


def _shots(name: str, whose: str) -> Metric:
    meaning = f"mean {_MTA} of the classes in the {whose}; null unless the data set has a long tail"
    return Metric(f"mta_{name}", f"MTA ({name})", meaning, "highest", _last_known(f"mta_{name}"), meaning, later=True)


_ALL = (
    Metric("mta", "MTA", f"{_MTA}, last evaluation", "highest", _last("mta"), _MTA),
    Metric("asr", "ASR", f"{_ASR}, last evaluation", "lowest", _last("asr"), _ASR),
    Metric("mta_tail", "MTA (tail)", f"{_MTA}, {_MEAN}", "highest", _tail("mta")),
    Metric("asr_tail", "ASR (tail)", f"{_ASR}, {_MEAN}", "lowest", _tail("asr")),
    Metric("asr_max", "ASR (max)", f"{_ASR}, highest of all evaluations", "lowest", _highest("asr")),
    Metric("mta_start", "MTA (start)", f"{_MTA}, before round 1", None, _start("mta")),
    Metric("asr_start", "ASR (start)", f"{_ASR}, before round 1", None, _start("asr")),
    Metric(
        *("asr_clean", "ASR (clean)", f"{_CLEAN}, last evaluation", None, _last_known("asr_clean"), _CLEAN),
        later=True,
    ),
    _shots("many", "third with most training images (head)"),
    _shots("medium", "middle third"),
    _shots("few", "third with fewest training images (tail)"),
    Metric(
        "lifespan",
        "lifespan",
        "rounds after the last attacked one for which the ASR of all evaluations is above half of the highest in the "
        f"attacked rounds, at most those that are left; null where that is below {100 * PEAK:g} %, or there are none",
        "lowest",
        _lifespan,
        kind="integer",
        floor=0.0,
    ),
    _detection("tpr", "malicious", "highest"),
    _detection("fpr", "benign", "lowest"),
    Metric(
        *("dropped", "dropped", "non-finite updates that were dropped", None, _dropped),
        *(f"non-finite updates that were dropped {_SINCE}", "integer", 0.0),
    ),
    Metric(
        *("attackers", "attackers", _ATTACKERS, None, _of_rounds("attackers"), f"{_ATTACKERS} {_SINCE}"),
        *("number", 0.0),
    ),
    *(_seconds(part, what) for part, what in _SPENT.items()),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""Name -> metric, in the order of the columns of ``results.parquet``; all there are: :mod:`.metric_catalog`."""

MAIN = ("mta", "asr")
"""What every evaluation measures, and tables show if nothing else is asked for."""
DETECTION = ("tpr", "fpr")
SHOTS = ("mta_many", "mta_medium", "mta_few")
"""MTA of head, middle and tail."""
SECONDS = tuple(name for name, metric in METRICS.items() if metric.kind == "seconds")
"""Where time goes. ``seconds_purify`` is the part of ``seconds_defense`` spent on the aggregated model."""


def judged(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What became of the updates of ``rounds``: mean TPR and FPR, how many were dropped, and attackers a round."""
    return {name: METRICS[name].final(Recorded((), rounds)) for name in (*DETECTION, "dropped", "attackers")}
