"""The models that a cell may name, and what each is. Settings are checked against it, so it imports nothing."""

from __future__ import annotations

MODELS = {
    "resnet18": "ResNet-18 for 32×32 images, BatchNorm, 11.2 M parameters (the paper's)",
    "cnn": "small CNN for CPUs, GroupNorm, 0.2 M parameters",
}

MODULES = {"resnet18": "clipfed_bench.models.resnet", "cnn": "clipfed_bench.models.cnn"}
"""Where each is."""
