"""Text-to-image models with settings of their own, where the pipeline's defaults would be wrong or slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

DEFAULT_MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
"""[ours] The reasons are in docs/server-data.md."""


@dataclass(frozen=True)
class KnownModel:
    """Settings of one model; None leaves the pipeline's own."""

    steps: int | None = None
    guidance: float | None = None
    size: int | None = None
    dtype: Dtype = "bfloat16"
    """On a GPU."""


KNOWN_MODELS = {
    DEFAULT_MODEL: KnownModel(30, 7.5, 512, "float16"),
    "stabilityai/sd-turbo": KnownModel(2, 0.0, 512, "float16"),
    "stabilityai/sdxl-turbo": KnownModel(2, 0.0, 512, "float16"),
    "black-forest-labs/FLUX.2-klein-4B": KnownModel(4, 1.0),
}
"""Id on the hub -> settings, after its model card; steps of the first three are ours."""
