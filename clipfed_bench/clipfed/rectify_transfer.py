"""What the server minimizes after aggregation: feature rectification (d) and knowledge transfer (e) of CLIP-Fed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipfed_bench.clipfed.losses import class_prototypes, rectification_loss, transfer_loss
from clipfed_bench.clipfed.server_set import ServerSet
from clipfed_bench.clipfed.steps import Schedule, Training
from clipfed_bench.models.base import Classifier
from clipfed_bench.toolbox.compute import Compute


class Rectification(Training):
    """Minimize L_pcl (Eq. 3 to 5) over the feature extractor and ``projection``; the classifier is left alone.

    The extractor's prototypes e^F are those of its features on D_s when the round's rectification begins [ours].
    """

    def __init__(
        self,
        model: Classifier,
        projection: nn.Module,
        data: ServerSet,
        temperature: float,
        schedule: Schedule,
        compute: Compute | None = None,
    ) -> None:
        self._projection, self._data, self._temperature = projection, data, temperature
        classes, width = len(data.text_prototypes), model.classifier.in_features
        self._own = torch.zeros(classes, width, device=data.images.device)
        trained = [p for name, p in model.named_parameters() if not name.startswith("classifier.")]
        trained += projection.parameters()
        super().__init__(model, trained, len(data.labels), schedule, compute or Compute())

    def __call__(self, stream: torch.Generator) -> None:
        """Train for a round; ``stream`` shuffles D_s."""
        labels = self._data.labels
        self._own.copy_(class_prototypes(self._features(), labels, len(self._own)))
        super().__call__(stream)

    def loss(self, index: Tensor) -> Tensor:
        """L_pcl of the images."""
        data = self._data
        with self._compute.autocast():
            features = self._model.features(data.images[index])
        features = features.float()
        return rectification_loss(
            features,
            self._projection(features),
            data.labels[index],
            data.image_prototypes,
            data.text_prototypes,
            self._own,
            self._temperature,
        )

    @torch.no_grad()
    def _features(self) -> Tensor:
        self._model.eval()
        with self._compute.autocast():
            return torch.cat([self._model.features(part).float() for part in torch.split(self._data.images, 256)])


class Transfer(Training):
    """Minimize L_kt (Eq. 6) over the whole model."""

    def __init__(
        self,
        model: Classifier,
        data: ServerSet,
        beta: float,
        temperature: float,
        schedule: Schedule,
        compute: Compute | None = None,
    ) -> None:
        self._data, self._beta, self._temperature = data, beta, temperature
        super().__init__(model, list(model.parameters()), len(data.labels), schedule, compute or Compute())

    def loss(self, index: Tensor) -> Tensor:
        """L_kt of the images."""
        data = self._data
        with self._compute.autocast():
            logits = self._model(data.images[index])
        return transfer_loss(logits, data.teacher_logits[index], data.labels[index], self._beta, self._temperature)
