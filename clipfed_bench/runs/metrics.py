"""What tables can show of a cell, how it is written, and which way is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from clipfed_bench.core.errors import unknown


@dataclass(frozen=True)
class Metric:
    """A column of the results as tables show it."""

    name: str
    label: str
    meaning: str
    better: str | None
    """``highest``, ``lowest``, or None where neither is better."""
    scale: float = 100.0
    """Factor on the stored number: 100 turns fractions into per cent."""
    signed: bool = False
    """Values are differences and have a sign."""

    def text(self, value: float, decimals: int) -> str:
        """``value`` as stored -> as shown."""
        return f"{self.scale * value:{'+' if self.signed else ''}.{decimals}f}"

    def difference(self) -> Metric:
        """The same of differences, of which none is the best."""
        return replace(self, better=None, signed=True)


_MTA = "accuracy on clean test images"
_ASR = "share of triggered test images of other classes that are taken for the target"
_TAIL = "mean over the evaluations in the last 10 % of rounds"
_ALL = (
    Metric("mta", "MTA", f"{_MTA}, last evaluation", "highest"),
    Metric("asr", "ASR", f"{_ASR}, last evaluation", "lowest"),
    Metric("mta_tail", "MTA (tail)", f"{_MTA}, {_TAIL}", "highest"),
    Metric("asr_tail", "ASR (tail)", f"{_ASR}, {_TAIL}", "lowest"),
    Metric("asr_max", "ASR (max)", f"{_ASR}, highest of all evaluations", "lowest"),
    Metric("mta_start", "MTA (start)", f"{_MTA}, before round 1", None),
    Metric("asr_start", "ASR (start)", f"{_ASR}, before round 1", None),
    Metric("tpr", "TPR", "share of malicious updates that the defense rejects", "highest"),
    Metric("fpr", "FPR", "share of benign updates that the defense rejects", "lowest"),
    Metric("dropped", "dropped", "non-finite updates that were dropped", None, 1.0),
    *(
        Metric(f"seconds_{part}", f"s {part}", f"seconds of {what}, whole cell", "lowest", 1.0)
        for part, what in {
            "local": "local training",
            "attack": "crafting malicious updates",
            "defense": "the defense",
            "purify": "the defense's work on the aggregated model",
            "eval": "evaluation",
        }.items()
    ),
)
METRICS = {metric.name: metric for metric in _ALL}


def find_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics called ``names``, in that order. Raises UserError for one that does not exist."""
    for name in (names := tuple(names)):
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    return tuple(METRICS[name] for name in names)
