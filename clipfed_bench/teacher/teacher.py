"""A frozen vision-language model as the server uses it: image features, text prototypes, zero-shot logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipfed_bench.core.work_counts import counted
from clipfed_bench.teacher.features import TensorCache, digest
from clipfed_bench.teacher.preprocess import Preprocess, unit_range

if TYPE_CHECKING:
    from clipfed_bench.teacher.contrastive import Progress

BATCH = 128
"""Images of one forward pass at most [ours]."""


class Teacher:
    """CLIP, or a dual encoder like it, for one list of classes. Built by :func:`.loading.load_teacher`.

    Features are float32 with L2 norm 1, lie on ``device``, and are stored on disk by (images, teacher), so no other
    cell or process computes them again. The model is in memory only once a feature is really computed.
    """

    text_prototypes: Tensor
    """(C, D) float32 on ``device``: mean of a class's normalized text embeddings over the templates, normalized."""
    logit_scale: float
    """exp of the model's learned logit scale; 100 for OpenAI's CLIP."""
    identity: str
    """sha256 of weights, architecture and preprocessing: equal for teachers with equal image features."""
    provenance: Mapping[str, str]
    """For tables: ``name``, ``checkpoint`` (sha256), ``templates``, and ``tag`` or the training's figures."""
    computed: int
    """Images whose features this object computed, i.e. did not find stored."""
    progress: Progress | None
    """Hears of images while their features are computed: how many are done, of how many."""

    def __init__(
        self,
        load_model: Callable[[], nn.Module],
        preprocess: Preprocess,
        tokens: Tensor,
        classes: int,
        *,
        identity: str,
        provenance: Mapping[str, str],
        cache: TensorCache,
        device: torch.device | str = "cpu",
    ) -> None:
        """``tokens`` (T · C, context) int64: the tokenized prompts, template by template.

        ``load_model`` returns an open_clip model on the CPU; raises TeacherError if it cannot.
        """
        self.device = torch.device(device)
        self.identity = identity
        self.provenance = dict(provenance)
        self.computed = 0
        self.progress = None
        self._load_model = load_model
        self._model: nn.Module | None = None
        self._preprocess = preprocess
        self._cache = cache
        text = cache.get(
            f"text-{digest(identity, tokens)}",
            lambda: self._embed_text(tokens, classes),
            lambda found: _fits(found, "prototypes", classes) and _fits(found, "logit_scale", 1),
        )
        self.text_prototypes = text["prototypes"].to(self.device)
        self.logit_scale = float(text["logit_scale"])

    @property
    def dim(self) -> int:
        """D, entries of a feature."""
        return self.text_prototypes.shape[1]

    def image_features(self, images: Tensor, *, cached: bool = True) -> Tensor:
        """(N, 3, H, W) uint8, or float in [0, 1] -> (N, D) float32 on ``device``, L2-normalized.

        ``cached=False`` neither reads nor writes the disk, for images that will not be seen again.
        """
        if not cached:
            return self._embed_images(images)["features"].to(self.device)
        key = f"image-{digest(self.identity, images)}"
        found = self._cache.get(
            key,
            lambda: self._embed_images(images),
            lambda stored: _fits(stored, "features", len(images)) and stored["features"].shape[1:] == (self.dim,),
        )
        return found["features"].to(self.device)

    def zero_shot_logits(self, features: Tensor) -> Tensor:
        """(N, D) normalized features -> (N, C) logits: ``logit_scale`` · cosine to each text prototype."""
        return self.logit_scale * features @ self.text_prototypes.T

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Zero-shot top-1 accuracy in [0, 1] on ``images`` (as for :meth:`image_features`), ``labels`` (N,) int64."""
        predicted = self.zero_shot_logits(self.image_features(images)).argmax(1)
        return float((predicted == labels.to(self.device)).double().mean())

    @property
    def model(self) -> nn.Module:
        """The frozen open_clip model on ``device``, in evaluation mode; loaded at the first use."""
        if self._model is None:
            model = self._load_model().eval().requires_grad_(False)
            self._model = model.to(self.device).to(memory_format=torch.channels_last)
        return self._model

    @counted("feature set")
    @torch.no_grad()
    def _embed_images(self, images: Tensor) -> dict[str, Tensor]:
        self.computed += len(images)
        if not len(images):
            return {"features": torch.empty(0, self.dim)}
        return {"features": embed_images(self.model, self._preprocess, images, self.progress)}

    @torch.no_grad()
    def _embed_text(self, tokens: Tensor, classes: int) -> dict[str, Tensor]:
        model = self.model
        return {
            "prototypes": text_prototypes(model, tokens.to(self.device), classes),
            "logit_scale": model.get_parameter("logit_scale").exp().float().reshape(1),
        }


def _fits(stored: Mapping[str, Tensor], name: str, rows: int) -> bool:
    """Whether ``stored`` has float32 numbers of that name and length."""
    value = stored.get(name)
    return value is not None and value.dtype == torch.float32 and value.ndim > 0 and len(value) == rows


def batch_size(size: tuple[int, int]) -> int:
    """Images of ``size`` (height, width) that a CPU takes at once: more no longer lie in its cache."""
    return max(8, min(BATCH, BATCH * 64 * 64 // (size[0] * size[1])))


def embed_images(model: nn.Module, preprocess: Preprocess, images: Tensor, progress: Progress | None = None) -> Tensor:
    """(N, C, H, W) uint8 or float in [0, 1] through an open_clip model -> (N, D) float32, L2-normalized, beside it.

    ``progress`` counts images.
    """
    device, features, done = next(model.parameters()).device, list[Tensor](), 0
    for batch in torch.split(images, BATCH if device.type == "cuda" else batch_size(preprocess.size)):
        inputs = preprocess(unit_range(batch.to(device))).contiguous(memory_format=torch.channels_last)
        features.append(F.normalize(model.encode_image(inputs).float(), dim=-1))  # type: ignore[operator]
        done += len(batch)
        if progress is not None:
            progress(done, len(images))
    return torch.cat(features)


def text_prototypes(model: nn.Module, tokens: Tensor, classes: int) -> Tensor:
    """(T · C, context) int64, template by template -> (C, D): normalized mean of normalized embeddings."""
    embedded = torch.cat([model.encode_text(part) for part in torch.split(tokens, 256)])  # type: ignore[operator]
    each = F.normalize(embedded.float(), dim=-1)
    return F.normalize(each.view(-1, classes, each.shape[1]).mean(0), dim=-1)
