"""A round in miniature as malicious clients see it when they craft: a model of 66 parameters, clients of few images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipfed_bench.api import CraftContext, LocalModel
from makers.images import noise

LAYERS = {"first.weight": slice(0, 12), "first.bias": slice(12, 16)}
LAYERS |= {"classifier.weight": slice(16, 56), "classifier.bias": slice(56, 66)}
SIZE = 66


class Tiny(nn.Module):
    """The mean color of an image (B, 3, H, W), four features, ten classes; parameters lie as :data:`LAYERS` says."""

    def __init__(self, params: Tensor) -> None:
        super().__init__()
        self.first, self.classifier = nn.utils.skip_init(nn.Linear, 3, 4), nn.utils.skip_init(nn.Linear, 4, 10)
        for (name, p), place in zip(self.named_parameters(), LAYERS.values(), strict=True):
            assert name in LAYERS
            p.data = params[place].clone().view(p.shape)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.tanh(self.first(images.mean(dim=(2, 3)))))
        return logits


def params(seed: int = 0, scale: float = 1.0, count: int | None = None) -> Tensor:
    """(66,) or (count, 66), normal."""
    shape = (SIZE,) if count is None else (count, SIZE)
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def crafting(**more: Any) -> CraftContext:
    """Malicious clients 4 and 9 of 1, 4, 7, 9 are in the round, of five clients, to a model of zeros."""
    given: dict[str, Any] = {"round": 1, "clients": (4, 9), "colluders": (1, 4, 7, 9), "participants": 5}
    given |= {"global_params": torch.zeros(SIZE), "layers": LAYERS, "others": lambda: params(1, count=3)}
    given |= {"buffers": torch.ones(len(more.get("clients", (4, 9))), 3)} | more
    given.setdefault("honest", lambda client: LocalModel(torch.full((SIZE,), 0.01 * client), _statistics(client)))
    given.setdefault("trained", lambda client, loss: LocalModel(params(client, 0.1), _statistics(client)))
    given.setdefault("images", lambda client: (noise(8, 3, 32, 32, seed=client), torch.arange(8)))
    given.setdefault("validation", given["images"])
    given.setdefault("model", lambda: Tiny(given["global_params"]))
    given.setdefault("logits", _logits)
    return CraftContext(**given)


def _statistics(client: int) -> Tensor:
    return torch.full((3,), float(client))


def _logits(flat: Tensor, buffers: Tensor, images: Tensor) -> Tensor:
    """Every image is the class that the parameters sum to."""
    return F.one_hot(flat.sum().abs().long() % 10, 10).float().expand(len(images), 10)
