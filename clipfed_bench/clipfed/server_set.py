"""The server's training set D_s as CLIP-Fed uses it: normalized images and what the teacher says of them.

Built once before round 1 (paper) and the same for all seeds: the generated data are an input, not a draw of the cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from clipfed_bench.api import Attack, AttackContext, ServerContext, Teacher
from clipfed_bench.clipfed.frequency_noise import augment
from clipfed_bench.clipfed.losses import class_prototypes
from clipfed_bench.components.registry import choose, create_attack
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.work_counts import counted
from clipfed_bench.toolbox.images import Normalizer, ServerData, image_shape
from clipfed_bench.toolbox.rng import generator


@dataclass(frozen=True)
class ServerSet:
    """N images of D_s with the frozen teacher's view of them, on the device of the cell."""

    images: Tensor
    """(N, C, H, W) float32, normalized to the target data set's statistics."""
    labels: Tensor
    """(N,) int64."""
    teacher_logits: Tensor
    """(N, classes) float32, zero-shot."""
    image_prototypes: Tensor
    """(classes, E): normalized class means of the teacher's image features, e^I."""
    text_prototypes: Tensor
    """(classes, E): the teacher's normalized prompt embeddings, e^T."""
    band: int
    """The most sensitive band, 0-based; -1 without augmentation."""
    sigma: float
    """Standard deviation of the noise in it."""


@dataclass(frozen=True)
class Augmentation:
    """How D_s is augmented; ``mode`` none, replace or join."""

    mode: str
    bands: int
    noise: float
    probe: str


def build_server_set(server: ServerContext, augmentation: Augmentation) -> ServerSet:
    """The server set of a cell; made once for all cells of a process that are alike in it."""
    assert server.server_data is not None
    assert server.teacher is not None
    return _build(server.server_data(), server.teacher(), augmentation, server.mean, server.std, str(server.device))


@lru_cache(maxsize=2)
@counted("augmented set")
def _build(
    source: ServerData,
    clip: Teacher,
    augmentation: Augmentation,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: str,
) -> ServerSet:
    normalize = Normalizer(mean, std, device)
    pixels, labels = normalize.pixels(source.data.images.to(device)), source.data.labels.to(device)
    features = clip.image_features(source.data.images).to(device)
    num_classes = len(clip.text_prototypes)
    band, sigma = -1, 0.0
    if augmentation.mode != "none":
        probe = _probe(augmentation.probe, AttackContext(0, num_classes, image_shape(pixels)))
        stream = generator(0, "server-augmentation")
        changed, band, sigma = augment(pixels, probe.trigger, augmentation.bands, augmentation.noise, stream)
        changed_features = clip.image_features(changed).to(device)
        joined = augmentation.mode == "join"
        pixels = torch.cat([pixels, changed]) if joined else changed
        features = torch.cat([features, changed_features]) if joined else changed_features
        labels = labels.repeat(2) if joined else labels
    return ServerSet(
        normalize(pixels),
        labels,
        clip.zero_shot_logits(features),
        class_prototypes(features, labels, num_classes),
        clip.text_prototypes.to(device),
        band,
        sigma,
    )


def _probe(text: str, context: AttackContext) -> Attack:
    """The attack whose trigger is looked at. Raises UserError, also where it does not fit the images."""
    try:
        return create_attack(choose("attack", text), context)
    except UserError as error:
        raise UserError(
            f"clip-fed[probe={text}]: {error} Another trigger is named as probe=NAME[option=value]."
        ) from None
