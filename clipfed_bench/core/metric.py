"""What a metric of another package is: it measures something of each evaluation, and makes one figure of a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Recorded:
    """What a cell recorded. Shares are fractions."""

    evaluations: Sequence[Mapping[str, float]]
    """History rows; the first is the one before round 1."""
    judged: Sequence[Mapping[str, float]]
    """``tpr``, ``fpr``, ``dropped`` and ``attackers`` of each round."""
    rounds: int = 0
    attacked: tuple[int, int] | None = None
    """First and last attacked round; None without an attack."""

    def tail(self) -> Sequence[Mapping[str, float]]:
        """The evaluations in the last 10 % of rounds."""
        return [row for row in self.evaluations[1:] if row["round"] > 0.9 * self.rounds]


@dataclass(frozen=True)
class TestOutputs:
    """What a model says of the test images. Tensors are on the device of the cell, and not to be changed."""

    __test__ = False  # not a pytest class

    clean: Tensor
    """(N, classes) float32 logits of all test images."""
    labels: Tensor
    """(N,) int64, their classes."""
    triggered: Tensor
    """(M, classes) float32 logits of the images whose class is not the target, triggered; M is 0 of an untargeted
    attack."""
    triggered_labels: Tensor
    """(M,) int64, the classes that they have without a trigger."""
    target: int


class Measurement:
    """A metric, by one file of another package (docs/extending.md). It defines ``measure``, ``final`` or both.

    Its module's docstring says in the first line what it is: that stands in tables' notes, and in lists of columns.
    """

    label: ClassVar[str]
    """What tables call it, a few words at most."""
    better: ClassVar[str | None] = None
    """``highest``, ``lowest``, or None where neither is better."""
    kind: ClassVar[str] = "fraction"
    """``fraction``, which tables show in per cent, ``number`` or ``integer``."""

    def measure(self, outputs: TestOutputs) -> float | Tensor:
        """The figure of an evaluation, a number or a tensor with one: finite, or NaN where there is nothing to measure.

        A fraction is in [0, 1].
        """
        raise NotImplementedError

    def final(self, values: Sequence[float], cell: Recorded) -> float:
        """The figure of a whole cell; that of the last evaluation unless it is defined otherwise.

        ``values`` are what was measured in each of ``cell.evaluations``, NaN where the metric was not installed yet.
        """
        return values[-1] if values else math.nan
