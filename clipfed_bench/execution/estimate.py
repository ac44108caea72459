"""How long cells take: counted in images that pass through the model, in seconds by a rate or by what was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.data.catalog import info, resolve_imbalance
from clipfed_bench.data.feasible import train_counts
from clipfed_bench.execution.jobs import Job

Way = tuple[str, str]
"""Device and precision."""

TRAINED_PER_SECOND: Mapping[Way, Mapping[str, float]] = {
    ("cpu", "float32"): {"cnn": 2_600.0, "resnet18": 28.0},
    ("cpu", "bfloat16"): {"cnn": 1_700.0, "resnet18": 55.0},
    ("cuda", "float32"): {"cnn": 50_000.0, "resnet18": 6_000.0},
    ("cuda", "bfloat16"): {"cnn": 50_000.0, "resnet18": 12_000.0},
}
"""Images trained per second, by model. On a CPU: of one core, measured on one machine; on a GPU: guessed."""

RESNET18_FLOPS = 3.33e9
"""To train ResNet-18 on one image of 3×32×32."""

EVALUATION = 1 / 3.4
"""Time to evaluate an image, in times to train one [measured, CPU]."""

ALLOWED: dict[str, float] = {"data": 10.0, "teacher": 60.0}
"""Seconds for decoding a data set, and for training a small teacher [measured for digits; others take longer]."""


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of jobs that are all computed one way."""

    way: Way
    measured: Mapping[str, float]
    """Key -> seconds of cells that are done."""
    corrections: Mapping[str, float]
    """Defense's bare name -> measured / counted seconds; under ``""`` that of all cells."""
    kept: Collection[str] = ()
    """Ids of jobs whose result is there, and takes no time to speak of."""

    @property
    def basis(self) -> str:
        """Where the estimate is from, for people."""
        if self.measured:
            return f"judging by the {len(self.measured)} cells measured here"
        where = "of a typical CPU core" if self.way[0] == "cpu" else "of a guessed GPU"
        return f"a rough guess from the speed {where}; nothing is measured here yet"

    def seconds(self, job: Job) -> float:
        """Expected seconds of ``job``."""
        if job.id in self.kept:
            return 0.0
        if job.stage in ALLOWED:
            return ALLOWED[job.stage]
        spec = job.spec
        correction = self.corrections.get(spec.defense.name, self.corrections.get("", 1.0))
        if job.stage == "warmup":
            return counted(spec, spec.warmup_rounds, self.way, attacked=False) * self.corrections.get("", 1.0)
        if job.stage == "prefix":
            return counted_prefix(spec, self.way) * correction
        shared = counted_prefix(spec, self.way) if f"prefix/{spec.prefix_key}" in job.needs else 0.0
        return (counted(spec, spec.rounds, self.way) - shared) * correction

    def total(self, jobs: Sequence[Job], workers: int) -> float:
        """Expected seconds of all ``jobs`` in ``workers`` processes: shared work, then cells, each well spread."""
        total = 0.0
        for stages in (("data",), ("teacher", "warmup"), ("prefix",), ("cell",)):
            seconds = [self.seconds(job) for job in jobs if job.stage in stages]
            total += max(sum(seconds) / workers, max(seconds, default=0.0))
        return total


def make_estimate(way: Way, done: Mapping[str, tuple[CellSpec, float]], kept: Collection[str] = ()) -> Estimate:
    """An estimate that learns from cells that are ``done``: key -> spec and measured seconds. ``kept``: as there."""
    sums: dict[str, list[float]] = {}
    for spec, seconds in done.values():
        for name in ("", spec.defense.name):
            pair = sums.setdefault(name, [0.0, 0.0])
            pair[0] += seconds
            pair[1] += counted(spec, spec.rounds, way)
    corrections = {name: measured / expected for name, (measured, expected) in sums.items() if expected > 0}
    return Estimate(way, {key: seconds for key, (_, seconds) in done.items()}, corrections, kept)


def counted(spec: CellSpec, rounds: int, way: Way, attacked: bool = True) -> float:
    """Seconds that ``rounds`` of a cell take at the rate of ``way``, for training, server step and evaluation."""
    train, test, classes = _sizes(spec)
    copies = 1 + spec.malicious if attacked and spec.poison_ratio >= 1 else 1.0
    images = rounds * spec.clients_per_round * train / spec.clients * spec.local_epochs * copies
    if attacked:
        images += (rounds // spec.eval_every + 1) * 2 * test * EVALUATION
        images += _server_images(spec, rounds, classes)
    return images / trained_per_second(spec, way)


def trained_per_second(spec: CellSpec, way: Way) -> float:
    """Images that a cell's model trains on in a second: as measured, else by its FLOPs at ResNet-18's rate.

    No model is taken to be faster than the small CNN, whose time on a GPU is that of starting its many kernels.
    """
    rates, known = TRAINED_PER_SECOND[way], info(spec.dataset)
    if str(spec.model) in rates and known.image_shape == (3, 32, 32):
        return rates[str(spec.model)]
    from clipfed_bench.models.counts import training_flops  # imports torch

    flops = training_flops(spec.model, len(known.classes), known.image_shape)
    return min(rates["resnet18"] * RESNET18_FLOPS / flops, rates["cnn"])


def counted_prefix(spec: CellSpec, way: Way) -> float:
    """Seconds that the rounds before the attack take without evaluations, which are every cell's own."""
    server = _server_images(spec, spec.prefix_rounds, _sizes(spec)[2])
    return counted(spec, spec.prefix_rounds, way, attacked=False) + server / trained_per_second(spec, way)


def _server_images(spec: CellSpec, rounds: int, classes: int) -> float:
    """Images that the server step trains on."""
    has_teacher = spec.defense.component.needs_teacher
    return rounds * (spec.server_per_class or 1000) * classes * 2 if has_teacher else 0


def _sizes(spec: CellSpec) -> tuple[int, int, int]:
    """(training images, test images, classes)."""
    known = info(spec.dataset)
    train = train_counts(spec.dataset, resolve_imbalance(spec.dataset, spec.imbalance_factor))
    return sum(train), sum(known.test), len(known.classes)
