"""The models that a cell may name, and what each is. Settings are checked against it, so it imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A model, and the settings that it is known to train with: a cell has them unless it says otherwise."""

    summary: str
    origin: str
    """Where the values below come from: paper, lineage or ours."""
    lr: float
    """Learning rate of local SGD."""
    batch_size: int
    """Images of a local batch."""
    warmup_rounds: int
    """Clean rounds before the first that may be attacked."""


MODELS: Mapping[str, Known] = {
    "resnet18": Known("ResNet-18 for 32×32 images, BatchNorm, 11.2 M parameters (the paper's)", "lineage", 0.1, 64, 0),
    # Chosen on CIFAR-10-LT by FedAvg's accuracy (docs/results.md). At ResNet-18's rate it stays at chance.
    "cnn": Known("small CNN for CPUs, GroupNorm, 0.2 M parameters", "ours", 0.01, 16, 60),
}

MODULES = {"resnet18": "clipfed_bench.models.resnet", "cnn": "clipfed_bench.models.cnn"}
"""Where each is."""

OF_MODEL = ("lr", "batch_size", "warmup_rounds")
"""Settings of a cell that follow from its model."""

COMPILED = ("cnn",)
"""Models with kernels of their own, which Numba compiles for a CPU, beside torch's operators."""
