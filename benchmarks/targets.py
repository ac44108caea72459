"""What the simulator is meant to reach, and whether it did here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.aggregation import Aggregation
from benchmarks.kernels import Comparison
from benchmarks.ours import Way
from benchmarks.rounds import Round
from benchmarks.scaling import Scaling
from benchmarks.steps import Step

PAPER_ROUND = 10_000
"""Images trained in a round: 10 clients × 500 images × 2 epochs. Rounds are judged from this size on."""


TARGETS_SHAPE = (3, 32, 32)
"""Of the images that the targets are for."""
ROUNDS = {64: 1.7, 32: 1.5, 16: 1.5}
"""Batch size -> how many times as fast a round is to be with compiled kernels as with torch's operators."""


@dataclass(frozen=True)
class Target:
    """One figure and its bound."""

    what: str
    bound: float
    at_least: bool
    """Else it is a bound from above."""
    measured: float
    unit: str = ""

    met: bool = False


def target(what: str, measured: float, bound: float, unit: str = "", at_least: bool = True) -> Target:
    """A target, met or not."""
    return Target(what, bound, at_least, measured, unit, measured >= bound if at_least else measured <= bound)


def targets(
    device: str,
    way: Way,
    steps: Sequence[Step],
    rounds: Sequence[Round],
    aggregations: Sequence[Aggregation],
    scaling: Sequence[Scaling],
    kernels: Sequence[Comparison] = (),
) -> list[Target]:
    """Those of ``device`` that what was measured can tell something about."""
    if device == "cuda":
        return list(_cuda(way, steps, rounds, aggregations))
    return [*_cpu(way, steps, rounds, aggregations, scaling), *_kernels(kernels)]


def _ratios(way: Way, steps: Sequence[Step], plain: float, usual: float) -> Iterable[Target]:
    """At each model's first batch size: of ``way``, and of the same executor in another precision if that is faster."""
    for model in dict.fromkeys(step.model for step in steps):
        own = [step for step in steps if step.model == model]
        first = next((s for s in own if (s.who, s.precision) == way), own[0])  # a model without such kernels: eager
        for step in steps:
            same = (step.model, step.who, step.batch_size) == (model, first.who, first.batch_size)
            if not same or step.images_per_second.median < first.images_per_second.median:
                continue
            where = f"{model}, batch {step.batch_size}, {step.precision}: images/s over the"
            for name, ratio, bound in (
                ("plain", step.ratio_plain_loop, plain),
                ("usual", step.ratio_usual_loop, usual),
            ):
                if ratio is not None:
                    yield target(f"{where} {name} loop's", ratio.median, bound, "×")


def _cpu(
    way: Way,
    steps: Sequence[Step],
    rounds: Sequence[Round],
    aggregations: Sequence[Aggregation],
    scaling: Sequence[Scaling],
) -> Iterable[Target]:
    yield from _ratios(way, steps, 0.97, 1.5)
    for entry in rounds:
        if entry.model == "cnn" and entry.trained_images >= PAPER_ROUND:
            share = 100 * entry.outside_share.median
            yield target(f"cnn, {entry.defense}: round outside training and evaluation", share, 5, "%", at_least=False)
    rates = [s.images_per_second.median for s in steps if s.model == "cnn" and (s.who, s.precision) == way]
    for one in aggregations:
        if one.model == "cnn" and one.clients == 10 and one.milliseconds and rates:
            seconds = one.milliseconds.median / 1e3
            share = 100 * seconds / (seconds + PAPER_ROUND / rates[0])
            yield target(
                f"cnn, {one.defense}: aggregation in a round of {PAPER_ROUND:,}", share, 5, "%", at_least=False
            )
    for both in scaling:
        if both.processes == 2:
            yield target(f"{both.model}: two processes over one", both.times_one.median, 1.8, "×")


def _kernels(kernels: Sequence[Comparison]) -> Iterable[Target]:
    for entry in kernels:
        where = f"{entry.model}, batch {entry.batch_size}: compiled kernels over torch's operators,"
        yield target(f"{where} training and evaluation", entry.ratio["both"].median, ROUNDS[entry.batch_size], "×")
        if entry.batch_size == 64:
            yield target(f"{where} evaluation", entry.ratio["evaluate"].median, 2.2, "×")


def _cuda(
    way: Way,
    steps: Sequence[Step],
    rounds: Sequence[Round],
    aggregations: Sequence[Aggregation],
) -> Iterable[Target]:
    for step in steps:
        if step.model == "resnet18" and (step.who, step.precision, step.batch_size) == (*way, 64):
            yield target("resnet18, batch 64: images/s", step.images_per_second.median, 40_000)
    yield from _ratios(way, [s for s in steps if s.model == "resnet18"], 4, 10)
    for entry in rounds:
        if entry.model == "resnet18" and entry.trained_images == PAPER_ROUND:
            whole = sum(entry.seconds[part].median for part in ("local", "attack", "defense", "other"))
            what = f"resnet18, {entry.defense}: a round of 10 × 500 × 2 without purification and evaluation"
            yield target(what, whole, 0.35, "s", at_least=False)
            for one in aggregations:
                if one.model == "resnet18" and one.clients == 10 and one.milliseconds and entry.defense == "fedavg":
                    share = one.milliseconds.median / (10 * whole)
                    yield target(f"resnet18, {one.defense}: aggregation of 10 updates", share, 5, "%", at_least=False)
