"""The clean warm-up that cells share: FedAvg rounds in which everybody is honest, stored as one checkpoint.

Rounds of the warm-up are numbered up to 0, so that round 1 is the first of the cell proper and random streams differ.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from clipfed_bench.api import RoundContext, ServerContext
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import DamagedFileError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.messages import Environment, Progress, Report
from clipfed_bench.core.work_counts import count
from clipfed_bench.data.feasible import balanced_counts
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.aggregation import aggregate_updates
from clipfed_bench.simulator.checkpoint import Checkpoint
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.sampling import sample_clients
from clipfed_bench.toolbox.tensor_files import read_model


def checkpoint(spec: CellSpec, env: Environment) -> Path:
    """Where the warm-up's checkpoint is, or will be. Kinds of device and precisions differ in their numbers."""
    manner = "" if (env.device, env.precision) == ("cpu", "float32") else f"-{env.device}-{env.precision}"
    return env.warmup_dir / f"{spec.warmup_key}{manner}.safetensors"


def is_stored(spec: CellSpec, env: Environment) -> bool:
    """Whether there is a checkpoint, and it can be read; one that cannot is as good as none."""
    try:
        load(spec, env)
    except DamagedFileError:
        return False
    return True


def load(spec: CellSpec, env: Environment) -> tuple[Tensor, Tensor]:
    """(P,) parameters and (Q,) running statistics after the warm-up, on the device.

    Raises DamagedFileError, also for those of another model.
    """
    path = checkpoint(spec, env)
    found = read_model(path, env.device)
    sizes = _sizes(spec.model, len(balanced_counts(spec.dataset)))
    if any(t.shape != (n,) for t, n in zip(found, sizes, strict=True)):
        raise DamagedFileError(f"{path} is no warm-up of {spec.model}")
    return found


@cache
def _sizes(model: str, classes: int) -> tuple[int, int]:
    """(P, Q) of a model."""
    built = build_model(model, classes, 0)
    buffers = (b for b in built.buffers() if b.is_floating_point())
    return sum(p.numel() for p in built.parameters()), sum(b.numel() for b in buffers)


def compute(
    spec: CellSpec,
    env: Environment,
    federation: Federation,
    flat: FlatModel,
    report: Report,
    unfinished: Checkpoint,
) -> None:
    """Run the warm-up, from the initial model that ``flat`` holds or from where it stopped, and store it."""
    fedavg = create_defense(choose("defense", "fedavg"), ServerContext(0, (), (0, 0, 0), (1, 1, 1)))
    params, buffers = flat.params, flat.buffers
    start = 0
    if saved := unfinished.load():
        start = saved.round
        params.copy_(saved.tensors["params"])
        buffers.copy_(saved.tensors["buffers"])
        report(Progress("warmup", start, spec.warmup_rounds, note=f"goes on after round {start}"))
    for done in range(start + 1, spec.warmup_rounds + 1):
        round_ = done - spec.warmup_rounds
        updates = federation.train(flat, round_, sample_clients(spec, round_), None)
        result, _ = aggregate_updates(fedavg, updates, RoundContext(round_, spec.seed))
        params += result.delta
        buffers.copy_(result.buffers)
        count("round")
        if done < spec.warmup_rounds and unfinished.due(done):
            unfinished.save(done, {"params": params, "buffers": buffers}, {})
        report(Progress("warmup", done, spec.warmup_rounds))
    if not bool(torch.isfinite(params).all()):
        raise FloatingPointError(f"the warm-up diverged at lr {spec.lr}; use a smaller one")
    content = save({"params": params, "buffers": buffers}, metadata={"spec": json.dumps(spec.warmup)})
    write_atomically(checkpoint(spec, env), content)
    count("warm-up")
    unfinished.remove()
