"""Training on the server after aggregation: feature rectification (d) and knowledge transfer (e) of CLIP-Fed.

Both run plain SGD with momentum over the server set. The optimizer's state is fresh in every round: between rounds the
model moves by what clients send, and old momentum would point nowhere [ours].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipfed_bench.clipfed.losses import class_prototypes, rectification_loss, transfer_loss
from clipfed_bench.clipfed.server_set import ServerSet
from clipfed_bench.models.base import Classifier


@dataclass(frozen=True)
class Schedule:
    """How the server trains."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    clip: float
    """Bound on the norm of a step's gradient; 0: none."""


def rectify(
    model: Classifier,
    projection: nn.Module,
    data: ServerSet,
    temperature: float,
    schedule: Schedule,
    stream: torch.Generator,
) -> None:
    """Minimize L_pcl (Eq. 3 to 5) over the feature extractor and ``projection``; the classifier is left alone.

    The extractor's prototypes e^F are those of its features on D_s when the round's rectification begins [ours].
    """
    own = class_prototypes(_features(model, data.images), data.labels, len(data.text_prototypes))
    trained = [p for name, p in model.named_parameters() if not name.startswith("classifier.")]

    def loss(index: Tensor) -> Tensor:
        features = model.features(data.images[index])
        return rectification_loss(
            features,
            projection(features),
            data.labels[index],
            data.image_prototypes,
            data.text_prototypes,
            own,
            temperature,
        )

    _train(model, [*trained, *projection.parameters()], loss, len(data.labels), schedule, stream)


def transfer(
    model: Classifier, data: ServerSet, beta: float, temperature: float, schedule: Schedule, stream: torch.Generator
) -> None:
    """Minimize L_kt (Eq. 6) over the whole model."""

    def loss(index: Tensor) -> Tensor:
        logits = model(data.images[index])
        return transfer_loss(logits, data.teacher_logits[index], data.labels[index], beta, temperature)

    _train(model, model.parameters(), loss, len(data.labels), schedule, stream)


def _train(
    model: nn.Module,
    params: Iterable[nn.Parameter],
    loss: Callable[[Tensor], Tensor],
    count: int,
    schedule: Schedule,
    stream: torch.Generator,
) -> None:
    model.train()
    trained = list(params)
    optimizer = torch.optim.SGD(trained, lr=schedule.lr, momentum=schedule.momentum)
    device = next(model.parameters()).device
    for _ in range(schedule.epochs):
        for index in torch.split(torch.randperm(count, generator=stream), schedule.batch_size):
            # Gradients are views of the simulator's flat vector: zero them in place, also those not trained here.
            model.zero_grad(set_to_none=False)
            optimizer.zero_grad(set_to_none=False)
            loss(index.to(device)).backward()  # type: ignore[no-untyped-call]
            if schedule.clip:
                torch.nn.utils.clip_grad_norm_(trained, schedule.clip)
            optimizer.step()
    model.zero_grad(set_to_none=False)


@torch.no_grad()
def _features(model: Classifier, images: Tensor) -> Tensor:
    model.eval()
    return torch.cat([model.features(part) for part in torch.split(images, 256)])
