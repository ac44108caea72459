"""All measurements of one call, as a dictionary that JSON can hold."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks import ours
from benchmarks.aggregation import Aggregation, measure_aggregations
from benchmarks.ceilings import Work, count_work, measure_ceilings
from benchmarks.kernels import Comparison, measure_kernels
from benchmarks.rounds import Round, measure_rounds
from benchmarks.scale import choose
from benchmarks.scaling import Scaling, best_number, measure_scaling
from benchmarks.steps import PLAIN, USUAL, Step, measure_steps
from benchmarks.targets import TARGETS_SHAPE, targets
from benchmarks.timing import Clock
from clipfed_bench.core.provenance import provenance
from clipfed_bench.data.catalog import info
from clipfed_bench.execution.allocator import keep_freed_memory
from clipfed_bench.execution.machine import cores

SCHEMA = 1
"""Of the JSON; it changes when a name in it changes its meaning or goes away."""
PROCESSES = {"cpu": 2, "cuda": 4}
"""Most processes at once."""


@dataclass(frozen=True)
class Request:
    """What to measure."""

    device: str
    """``cpu`` or ``cuda``."""
    models: tuple[str, ...]
    """The first is the one that the headline ratios are of."""
    quick: bool = False
    images: int | None = None
    """A client's in a round, all other amounts in proportion; None: as :mod:`.scale` says."""
    dataset: str = "cifar10"
    """Whose image shape and number of classes the made-up images have."""


def measure(request: Request, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Measure everything, telling ``say`` what comes next."""
    begin = time.perf_counter()
    scales = {m: choose(request.device, m, request.quick, request.images, request.dataset) for m in request.models}

    def tell(what: str) -> None:
        say(f"{what} (after {time.perf_counter() - begin:.0f} s)")

    device, way = request.device, ours.default(request.device, request.models[0])
    torch.set_num_threads(1)
    keep_freed_memory()  # as a worker does
    tell("ceilings: matrix products and copies")
    ceilings = measure_ceilings(device, request.quick)
    works: dict[str, Work] = {}
    steps: list[Step] = []
    rounds: list[Round] = []
    aggregations: list[Aggregation] = []
    scaling: list[Scaling] = []
    kernels: list[Comparison] = []
    for model, scale in scales.items():
        work = works[model] = count_work(model, scale.dataset)
        tell(f"{model}: training steps")
        steps += measure_steps(model, device, scale, ceilings, work)
        tell(f"{model}: whole rounds")
        rounds += measure_rounds(model, device, scale, ceilings, work)
        tell(f"{model}: compiled kernels next to torch's operators")
        kernels += measure_kernels(model, device, scale)
        tell(f"{model}: aggregation")
        aggregations += measure_aggregations(model, device, scale, ceilings, work)
        processes = PROCESSES[device] if device == "cuda" else min(PROCESSES[device], cores())
        tell(f"{model}: up to {processes} processes at once")
        scaling += measure_scaling(model, device, scale, processes)
    shape = info(request.dataset).image_shape
    judged = targets(device, way, steps, rounds, aggregations, scaling, kernels) if shape == TARGETS_SHAPE else []
    first = headline(steps, request.models[0], way)
    best = best_number([s for s in scaling if s.model == request.models[0]])
    return {
        "schema": SCHEMA,
        "ratio_plain_loop": first.ratio_plain_loop.median if first.ratio_plain_loop else math.nan,
        "ratio_usual_loop": first.ratio_usual_loop.median if first.ratio_usual_loop else math.nan,
        "model": first.model,
        "dataset": request.dataset,
        "image_shape": shape,
        "executor": first.who,
        "precision": first.precision,
        "batch_size": first.batch_size,
        "images_per_second": first.images_per_second.median,
        "cells_per_gpu": best if device == "cuda" else None,
        "quick": request.quick,
        "targets": [asdict(t) for t in judged],
        "machine": _machine(device),
        "ceilings": asdict(ceilings),
        "work": {name: asdict(work) for name, work in works.items()},
        "steps": [asdict(step) | {"times_floor": step.times_floor} for step in steps],
        "rounds": [asdict(round_) for round_ in rounds],
        "kernels": [asdict(entry) for entry in kernels],
        "aggregations": [asdict(entry) for entry in aggregations],
        "scaling": [asdict(entry) for entry in scaling],
        "seconds": time.perf_counter() - begin,
    }


def headline(steps: Sequence[Step], model: str, way: ours.Way) -> Step:
    """The simulator's step that stands for ``model``: by default executor and precision, at the first batch size."""
    return next(s for s in steps if (s.model, s.who, s.precision) == (model, *way) and s.who not in (PLAIN, USUAL))


def _machine(device: str) -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        **provenance(device),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "clock": Clock(device).name,
        "load_average": load,
    }
