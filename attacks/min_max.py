"""Min-max and min-sum (untargeted): as far from the mean as honest updates are from each other.

Shejwalkar and Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
Learning", NDSS 2021, the attacks that know no aggregation rule. With the honest updates u_i of malicious clients, their
mean m and a perturbation p, all malicious clients upload m + gamma p with the largest gamma for which

    max_i ||m + gamma p - u_i|| <= max_ij ||u_i - u_j||                  (min-max),
    sum_i ||m + gamma p - u_i||^2 <= max_i sum_j ||u_i - u_j||^2         (min-sum).

Deviations: gamma is the root of the quadratic inequality, which the paper's Algorithm 1 approaches by halving steps.
Min-sum's bound is the paper's; the authors' code takes the smallest sum. BatchNorm running statistics are as trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext, UntargetedAttack
from clipfed_bench.attack_kit.known_updates import check_known, several_updates
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.distances import cosines, pairwise_squared_distances, row_norms

BOUNDS, PERTURBATIONS = ("max", "sum"), ("std", "unit", "sign")


@dataclass(frozen=True)
class Config:
    bound: Literal["max", "sum"] = "max"
    """Min-max or min-sum [ours]."""
    perturbation: Literal["std", "unit", "sign"] = "std"
    """Minus the standard deviation, minus the mean (its direction), or minus its signs [ours: all are the paper's]."""
    known: int = 5
    """Malicious clients whose honest updates it knows: those of the round, and others up to this number [ours]."""


class MinMax(UntargetedAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_known("min-max", config.known)
        for name, value, words in (
            ("bound", config.bound, BOUNDS),
            ("perturbation", config.perturbation, PERTURBATIONS),
        ):
            if value not in words:
                raise UserError(f"min-max: unknown {name} '{value}'; it is one of {', '.join(words)}.")

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        known = several_updates("min-max", updates, context, self.config.known)
        deviation, mean = torch.std_mean(known, dim=0, correction=0)
        away = -{"std": deviation, "unit": mean, "sign": mean.sign()}[self.config.perturbation]
        gamma = largest_gamma(known, mean, away, self.config.bound)
        return (mean + gamma.float() * away).expand_as(updates)


def largest_gamma(known: Tensor, mean: Tensor, away: Tensor, bound: str) -> Tensor:
    """Factor on ``away`` (P,) from the ``mean`` (P,) of the updates ``known`` (N, P), N >= 2; float64, >= 0.

    It is 0 where ``away`` is.
    """
    offsets = mean - known
    squares, length = row_norms(offsets).square(), row_norms(away[None]).squeeze(0)
    along = cosines(offsets, away) * row_norms(offsets)  # in units of ||away||
    apart = pairwise_squared_distances(known)
    if bound == "max":
        steps = _root(along, squares - apart.max()).min()
    else:
        steps = _root(along.mean(), (squares.sum() - apart.sum(dim=1).max()) / len(known))
    return torch.where(length > 0, steps / length, 0.0)


def _root(slope: Tensor, rest: Tensor) -> Tensor:
    """The largest x with x^2 + 2 ``slope`` x + ``rest`` <= 0, ``rest`` <= 0 but for rounding; at least 0."""
    return (slope.square() - rest.clamp(max=0.0)).sqrt() - slope
