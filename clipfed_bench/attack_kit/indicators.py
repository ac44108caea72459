"""Indicators: single parameters that tell an attacker, in the next global model, what became of its upload.

Li et al., "3DFed", IEEE S&P 2023, as its authors' code has it: a parameter that hardly moves and hardly matters is
given a value a hundred thousand times its update. By how much of that value the global model moves there is the
client's share of the aggregate: none if it was rejected, less than others' if it was clipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipfed_bench.toolbox.device import to_host

FACTOR, LEAST = 1e5, 1e-3
"""By what an update is multiplied, and what takes the place of one of zero [paper: its code]."""
CANDIDATES = 10
"""Parameters with a small update, for each indicator that is to be chosen among them [paper: its code]."""
CLIPPED = 0.8
"""Share of the largest feedback up to which an upload counts as clipped [paper: its code]."""


@dataclass(frozen=True)
class Indicators:
    """Of M uploads, one for each."""

    places: Tensor
    """(M,) int64, in the flat vector."""
    values: Tensor
    """(M,) float32, what was uploaded there."""
    before: Tensor
    """(M,) float32, the global model's parameters there when it was."""

    @classmethod
    def of(cls, uploads: Tensor, places: Tensor, params: Tensor, bound: Tensor | None = None) -> Indicators:
        """For ``uploads`` (M, P) to the global model ``params`` (P,); values are at most ``bound``, if there is one."""
        updates = uploads.gather(1, places[:, None]).squeeze(1)
        values = torch.where(updates == 0, LEAST, FACTOR * updates)
        if bound is not None:
            values = torch.minimum(values.abs(), bound) * values.sign()
        return cls(places, values, params[places])

    def implant(self, uploads: Tensor) -> Tensor:
        """``uploads`` (M, P) with the values in their places; a new tensor."""
        return uploads.scatter(1, self.places[:, None], self.values[:, None])

    def feedback(self, params: Tensor) -> list[float]:
        """Shares of the values by which a later global model ``params`` (P,) has moved; a GPU is waited for."""
        moved = (params[self.places] - self.before) / self.values
        return to_host(moved).tolist()


def indicator_layer(model: nn.Module, layers: Mapping[str, slice]) -> str:
    """Name of the last convolution's weight, or of the last matrix before the classifier, or of the classifier's."""
    shapes = {name: p.dim() for layer, p in model.named_parameters() for name in layers if _is(layer, name)}
    hidden = [name for name in shapes if not name.startswith("classifier.")]
    for dims in (4, 2):
        if found := [name for name in hidden if shapes[name] == dims]:
            return found[-1]
    return "classifier.weight"


def curvature(model: nn.Module, layer: str, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Sum over ``batches`` of H·1, with H the Hessian of a batch's cross-entropy by the weight ``layer``.

    ``batches`` are images (B, C, H, W) in [0, 1] and labels (B,). Returns (L,), as the weight lies in the flat vector.
    """
    [weight] = [p for name, p in model.named_parameters() if _is(name, layer)]
    model.requires_grad_(False)
    weight.requires_grad_()
    total = torch.zeros_like(weight)
    for images, labels in batches:
        # images with a gradient keep compiled kernels away, which have no second derivative
        loss = F.cross_entropy(model(images.clone().requires_grad_()), labels)
        [slope] = torch.autograd.grad(loss, weight, create_graph=True)
        total += torch.autograd.grad(slope.sum(), weight)[0]
    return (total.permute(0, 2, 3, 1) if total.dim() == 4 else total).reshape(-1)


def choose_places(size: Tensor, curvature: Tensor, count: int) -> Tensor:
    """(count,) int64: of the parameters with the smallest ``size`` (L,), those of the least absolute ``curvature``.

    L >= ``count``; of equal ones the smallest, then the first.
    """
    candidates = torch.argsort(size, stable=True)[: CANDIDATES * count]
    return candidates[torch.argsort(curvature[candidates].abs(), stable=True)[:count]]


def verdicts(feedback: Sequence[float], threshold: float) -> list[str] | None:
    """``accepted``, ``clipped`` or ``rejected`` for each; None where noise of the server's hides what became of them.

    A feedback is the share of its value by which the global model has moved.
    """
    if any(not -threshold <= f <= 1 + threshold for f in feedback if math.isfinite(f)):
        return None
    largest = max(feedback, default=0.0)

    def verdict(value: float) -> str:
        if not value > threshold:
            return "rejected"
        return "clipped" if value <= CLIPPED * largest else "accepted"

    return [verdict(value) for value in feedback]


def _is(name: str, layer: str) -> bool:
    """Whether ``name`` is that of ``layer``, behind whatever the model is wrapped in."""
    return name == layer or name.endswith(f".{layer}")
