"""The manner in which a cell is computed, where its numbers depend on it, and what is named after it. No torch."""

from __future__ import annotations

from pathlib import Path

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment
from clipfed_bench.data.catalog import info
from clipfed_bench.models.catalog import has_kernels


def kernels(spec: CellSpec, env: Environment) -> str:
    """What computes the cell's model: ``torch``, or ``numba`` where the environment has it and the model, too."""
    return env.kernels if has_kernels(spec.model, info(spec.dataset).image_shape) else "torch"


def warmup_file(spec: CellSpec, env: Environment) -> Path:
    """Where the warm-up's checkpoint is, or will be. Devices, precisions and kernels differ in their numbers."""
    manner = "" if (env.device, env.precision) == ("cpu", "float32") else f"-{env.device}-{env.precision}"
    manner += "" if kernels(spec, env) == "torch" else f"-{kernels(spec, env)}"
    return env.warmup_dir / f"{spec.warmup_key}{manner}.safetensors"
