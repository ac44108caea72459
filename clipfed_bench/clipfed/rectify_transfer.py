"""What the server minimizes after aggregation: feature rectification (d) and knowledge transfer (e) of CLIP-Fed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clipfed_bench.clipfed.losses import class_prototypes, rectification_loss, transfer_loss
from clipfed_bench.clipfed.server_set import ServerSet
from clipfed_bench.clipfed.steps import Schedule, Training
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.compute import Compute


def rectification(
    model: Classifier, projection: nn.Module, data: ServerSet, temperature: float, schedule: Schedule, compute: Compute
) -> Training:
    """Minimizes L_pcl (Eq. 3 to 5) over the feature extractor and ``projection``; the classifier is left alone.

    The extractor's prototypes e^F are those of its features on D_s when the round's rectification begins [ours].
    """
    own = torch.zeros(len(data.text_prototypes), model.classifier.in_features, device=data.images.device)

    def extract(images: Tensor) -> Tensor:
        with compute.autocast():
            return model.features(images).float()

    @torch.no_grad()
    def begin() -> None:
        model.eval()
        features = torch.cat([extract(part) for part in torch.split(data.images, 256)])
        own.copy_(class_prototypes(features, data.labels, len(own)))

    def loss(index: Tensor) -> Tensor:
        features, labels = extract(data.images[index]), data.labels[index]
        prototypes = data.image_prototypes, data.text_prototypes, own
        return rectification_loss(features, projection(features), labels, *prototypes, temperature)

    extractor = [p for name, p in model.named_parameters() if not name.startswith("classifier.")]
    trained = [*extractor, *projection.parameters()]
    return Training(model, trained, loss, len(data.labels), schedule, compute, begin)


def transfer(
    model: Classifier, data: ServerSet, beta: float, temperature: float, schedule: Schedule, compute: Compute
) -> Training:
    """Minimizes L_kt (Eq. 6) over the whole model."""

    def loss(index: Tensor) -> Tensor:
        with compute.autocast():
            logits = model(data.images[index])
        return transfer_loss(logits, data.teacher_logits[index], data.labels[index], beta, temperature)

    return Training(model, list(model.parameters()), loss, len(data.labels), schedule, compute)
