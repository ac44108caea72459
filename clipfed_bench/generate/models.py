"""Text-to-image models with settings of their own, where the pipeline's defaults would be wrong or slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

DEFAULT_MODEL = {"cuda": "stable-diffusion-v1-5/stable-diffusion-v1-5", "cpu": "stabilityai/sd-turbo"}
"""By device [ours]: the reasons are in docs/server-data.md."""

DEFAULT_PER_CLASS = {"cuda": 300, "cpu": 100}
"""Images of each class by device [ours]: as many as the paper's scale and the CPU scale take of them."""


@dataclass(frozen=True)
class KnownModel:
    """Settings of one model, where None leaves the pipeline's own, and what it costs."""

    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    dtype: Dtype = "bfloat16"
    """On a GPU."""
    parameters: float = 0.0
    """Of all its parts: text encoders, denoiser, decoder, safety checker."""
    pass_work: float = 0.0
    """FLOP of the denoiser for one image of ``size``, once; counted on an untrained one. 0: not known."""
    decoding_work: float = 2.51e12
    """FLOP of the decoder for one image."""
    has_float32: bool = True
    """Its files are in float32 as well."""


KNOWN_MODELS = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": KnownModel(30, 7.5, 512, "float16", 1.37e9, 0.80e12),
    "stabilityai/sd-turbo": KnownModel(2, 0.0, 512, "float16", 1.29e9, 0.80e12),
    "stabilityai/sdxl-turbo": KnownModel(2, 0.0, 512, "float16", 3.47e9, 1.59e12),
    "black-forest-labs/FLUX.2-klein-4B": KnownModel(4, 1.0, parameters=8.0e9, has_float32=False),
}
"""Id on the hub -> settings, after its model card; steps of the first three are ours."""


def known_model(model: str) -> KnownModel | None:
    """The one that ``model``, an id on the hub, names."""
    asked = model.strip().lower()
    return next((known for name, known in KNOWN_MODELS.items() if name.lower() == asked), None)
