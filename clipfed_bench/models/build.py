"""A model by its name, with weights that depend on the seed alone."""

from __future__ import annotations

import torch

from clipfed_bench.components.choice import Choice
from clipfed_bench.components.registry import choose, create_model
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.rng import stream_seed


def build_model(
    model: Choice | str,
    num_classes: int,
    seed: int,
    kernels: str = "torch",
    image_shape: tuple[int, int, int] = (3, 32, 32),
) -> Classifier:
    """A freshly initialized model for (B, C, H, W) images, in channels_last; the same for the same seed.

    ``kernels``: :attr:`.Classifier.kernels`. Raises UserError for a name or an option that is not known, and for images
    that the model cannot take.
    """
    choice = choose("model", model) if isinstance(model, str) else model
    # torch's initializers read the global stream; fork it so that nothing else sees the seed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "model"))
        built = create_model(choice, image_shape, num_classes)
    built.kernels = kernels
    return built.to(memory_format=torch.channels_last)
