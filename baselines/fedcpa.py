"""FedCPA: weigh clients by how alike their most and least important parameters are.

Han et al., "Towards Attack-tolerant Federated Learning via Critical Parameter Analysis", ICCV 2023. What follows is the
authors' published code (github.com/Sungwon-Han/FEDCPA, ``defense_utils.py``, "cpa"), checked line by line. The
paper, by a summary of it, has Spearman's rank correlation where the code has Pearson's.

The importance of parameter p of client i is |(w_i - w) w_i|_p, over weights of two dimensions or more. Two models are
as alike as [(r + 1) / 2 + J] averaged over their top 1 % and their bottom 1 % of parameters, where J is the Jaccard
index of the two index sets and r Pearson's correlation of importances on the intersection. The score of a client is
its mean similarity to all clients of the round (1 to itself) plus its similarity to the global model, whose importance
is |(w - w') w|, w' being the global model one round before. Scores are scaled to [0, 1] from the smallest to the
largest, 0 and 1 replaced by 0.01 and 0.99, and α = ln(s / (1 - s)) + 0.5 clipped to [0, 1]. The global model moves by
the sum of α_i Δ_i over the number of clients with α_i > 0.

Deviations: (r + 1) / 2 is 0 where r is undefined (fewer than two common parameters, or constant ones). In the first
round there is no w' and that term is left out; the code then takes the mean of the clients' models for w, and w for w'.
Equal scores (0/0 in the code) give equal weights. BatchNorm running statistics are the mean weighted by α. State: a
copy of the last global model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.errors import UserError
from clipfed_bench.geometry import round_significant, weighted_sum

Critical = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Indices and importances of some parameters."""


@dataclass(frozen=True)
class Config:
    share: float = 0.01
    """Share of parameters that are the top, and that are the bottom; above 0, at most 0.5 [paper: FedCPA]."""


class FedCPA(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if not 0 < config.share <= 0.5:
            raise UserError(f"fedcpa: share {config.share} is not a share of parameters above 0 and at most 0.5.")
        self._before: Tensor | None = None

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        params, count = updates.global_params, len(updates)
        weights = self._weight_mask(params)
        found = [critical((row * (params + row))[weights].abs(), self.config.share) for row in updates.deltas]
        pairs = np.eye(count)
        for i in range(count):
            for j in range(i):
                pairs[i, j] = pairs[j, i] = similarity(found[i], found[j])
        scores = pairs.mean(axis=1)
        if self._before is not None:
            own = critical(((params - self._before) * params)[weights].abs(), self.config.share)
            scores += [similarity(each, own) for each in found]
        self._before = params.clone()  # the simulator moves the global model in place
        alpha = score_weights(torch.from_numpy(scores))
        kept = (alpha > 0).to(updates.deltas.device)
        delta = weighted_sum(updates.deltas, alpha / kept.sum().cpu())
        info = {"fedcpa_weight": float(alpha.mean()), "fedcpa_kept": float(kept.sum())}
        return Aggregate(delta, updates.mean(alpha).buffers, kept, info)

    def state(self) -> dict[str, Tensor]:
        return {} if self._before is None else {"before": self._before}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._before = state.get("before")

    def _weight_mask(self, params: Tensor) -> Tensor:
        """(P,) bool: parameters of two dimensions or more, that is, neither biases nor normalization."""
        assert self.server.model is not None
        model, mask = self.server.model(), torch.zeros_like(params, dtype=torch.bool)
        for name, shape in model.shapes.items():
            mask[model.layers[name]] = len(shape) >= 2
        return mask


def critical(importance: Tensor, share: float) -> tuple[Critical, Critical]:
    """The top and the bottom ``share`` (at least one) of (P,) ``importance``; one vector at a time, to save memory."""
    count = max(int(len(importance) * share), 1)
    top, bottom = (importance.topk(count, largest=largest) for largest in (True, False))
    return (top.indices.cpu().numpy(), top.values.cpu().numpy()), (
        bottom.indices.cpu().numpy(),
        bottom.values.cpu().numpy(),
    )


def similarity(one: tuple[Critical, Critical], other: tuple[Critical, Critical]) -> float:
    """From 0 to 2: mean over top and bottom parameters of (r + 1) / 2 + Jaccard index."""
    total = 0.0
    for (index, values), (index_, values_) in zip(one, other, strict=True):
        common, here, there = np.intersect1d(index, index_, assume_unique=True, return_indices=True)
        total += len(common) / (len(index) + len(index_) - len(common))
        total += _correlation(values[here].astype(np.float64), values_[there].astype(np.float64))
    return total / 2


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """(r + 1) / 2 in [0, 1], 0 where Pearson's r is undefined."""
    if len(a) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(((a @ b) / scale).clip(-1, 1) + 1) / 2 if scale > 0 else 0.0


def score_weights(scores: Tensor) -> Tensor:
    """α (K,) float64 in [0, 1] from (K,) float64 scores; the largest is 1."""
    scores = round_significant(scores)  # equal ones must not be spread from 0 to 1 by their last bits
    low, high = scores.min(), scores.max()
    if low == high:
        return torch.ones_like(scores)
    scaled = (scores - low) / (high - low)
    scaled = torch.where(scaled == 0, 0.01, torch.where(scaled == 1, 0.99, scaled))
    return (torch.logit(scaled) + 0.5).clamp(0, 1)
