"""The clean warm-up that cells share: FedAvg rounds in which everybody is honest, stored as one checkpoint.

Rounds of the warm-up are numbered up to 0, so that round 1 is the first of the cell proper and random streams differ.
"""

from __future__ import annotations

import contextlib
import json

from safetensors.torch import save
from torch import Tensor

from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import DamagedFileError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.messages import Environment, Report
from clipfed_bench.core.work_counts import count
from clipfed_bench.data.catalog import info
from clipfed_bench.models import counts
from clipfed_bench.simulator.cell_facts import warmup_digests, warmup_facts
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.checkpoint import Checkpoint, identity
from clipfed_bench.simulator.history import Log
from clipfed_bench.simulator.manner import warmup_file
from clipfed_bench.simulator.stage import Stage, play, silent, warner
from clipfed_bench.simulator.training import Training
from clipfed_bench.toolbox.tensor_files import read_model


def is_stored(spec: CellSpec, env: Environment) -> bool:
    """Whether there is a checkpoint, whole and made from what there is now; any other is as good as none."""
    try:
        load(CellSetup(spec, env))
    except DamagedFileError:
        return False
    return True


def load(setup: CellSetup) -> tuple[Tensor, Tensor]:
    """(P,) parameters and (Q,) running statistics after the warm-up, on the device.

    Raises DamagedFileError, also for those of another model, and those that were made from other sources or data.
    """
    spec, path = setup.spec, warmup_file(setup.spec, setup.env)
    found, facts = read_model(path, setup.env.device)
    known = info(spec.dataset)
    sizes = counts.sizes(spec.model, len(known.classes), known.image_shape)
    if any(t.shape != (n,) for t, n in zip(found, sizes, strict=True)):
        raise DamagedFileError(f"{path} is no warm-up of {spec.model}")
    if facts != made_from(setup):
        raise DamagedFileError(f"{path} was made from other sources or data")
    return found


def made_from(setup: CellSetup) -> dict[str, str]:
    """What a checkpoint's header says of it; in one entry, as the order of several is not fixed."""
    return {"made_from": json.dumps({"spec": setup.spec.warmup, "digests": warmup_digests(setup)}, sort_keys=True)}


def run_warmup(spec: CellSpec, env: Environment, report: Report = silent) -> None:
    """Compute the cell's warm-up checkpoint unless it is there and whole."""
    _provide(CellSetup(spec, env), report)


def start(training: Training, setup: CellSetup, report: Report) -> None:
    """Make the model of ``training`` what it is before round 1."""
    if setup.spec.warmup_rounds:
        _provide(setup, report)
        params, buffers = load(setup)
        training.flat.params.copy_(params)
        training.flat.buffers.copy_(buffers)


def _provide(setup: CellSetup, report: Report) -> None:
    spec, env = setup.spec, setup.env
    if spec.warmup_rounds == 0:
        return
    with contextlib.suppress(DamagedFileError):
        load(setup)
        return
    warn, path = warner(report, "warmup", spec.warmup_rounds), warmup_file(spec, env)
    unfinished = Checkpoint(env, f"warmup-{path.stem}", identity(spec.warmup_key, warmup_facts(setup)), warn)
    fedavg = create_defense(choose("defense", "fedavg"), setup.server_context())
    training = Training(
        spec, setup.federation, setup.new_model(), fedavg, Log(env.device), first=1 - spec.warmup_rounds
    )
    play(Stage("warmup", spec.warmup_rounds, unfinished), training, lambda: None, report)
    params, buffers = training.flat.params, training.flat.buffers
    write_atomically(path, save({"params": params, "buffers": buffers}, metadata=made_from(setup)))
    count("warm-up")
    unfinished.remove()
