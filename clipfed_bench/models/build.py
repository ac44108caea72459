"""A model by its name, with weights that depend on the seed alone."""

from __future__ import annotations

import torch

from clipfed_bench.core.errors import unknown
from clipfed_bench.models.base import Classifier
from clipfed_bench.models.catalog import MODELS
from clipfed_bench.toolbox.rng import stream_seed


def build_model(name: str, num_classes: int, seed: int, kernels: str = "torch") -> Classifier:
    """A freshly initialized model for (B, 3, 32, 32) images, in channels_last; the same for the same seed.

    ``kernels``: :attr:`.base.Classifier.kernels`.

    Raises UserError for a name that is not in :data:`clipfed_bench.models.catalog.MODELS`.
    """
    from clipfed_bench.models.cnn import CNN
    from clipfed_bench.models.resnet import ResNet18

    builders = {"cnn": CNN, "resnet18": ResNet18}
    if name not in builders:
        raise unknown("model", name, MODELS)
    # torch's initializers read the global stream; fork it so that nothing else sees the seed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "model"))
        model = builders[name](num_classes)
    model.kernels = kernels
    return model.to(memory_format=torch.channels_last)
