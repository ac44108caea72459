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
Equal scores (0/0 in the code) give equal weights. Of equally important parameters, such as those that did not move, the
first are taken, on a CPU; on a GPU those that torch's ``topk`` takes. BatchNorm running statistics are the mean
weighted by α. State: a copy of the last global model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.distances import round_significant, weighted_sum

_ABSENT = -1.0
"""Stands for the importance of a parameter that is not critical; importances are never negative."""


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
        weights, before = self._weights(), self._before
        size, models = sum(part.stop - part.start for part in weights), count + (before is not None)
        entries = max(int(size * self.config.share), 1)
        # Made at once, and not between blocks that are freed: the C library would not get these together again.
        index = torch.empty(models, 2, entries, dtype=torch.int64, device=params.device)
        values = torch.empty(models, 2, entries, device=params.device)
        for i, row in enumerate(updates.deltas):
            index[i], values[i] = critical(importance(row, params + row, weights), entries)
        if before is not None:
            index[count], values[count] = critical(importance(params - before, params.clone(), weights), entries)
        alike = similarities(index, values, size)
        scores = alike[:count, :count].mean(dim=1) + alike[:count, count:].sum(dim=1)
        self._before = params.clone()  # the simulator moves the global model in place
        alpha = score_weights(scores)
        kept = alpha > 0
        delta = weighted_sum(updates.deltas, alpha / kept.sum())
        info = {"fedcpa_weight": alpha.mean(), "fedcpa_kept": kept.sum()}
        return Aggregate(delta, updates.mean(alpha).buffers, kept, info)

    def state(self) -> dict[str, Tensor]:
        return {} if self._before is None else {"before": self._before}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._before = state.get("before")

    def _weights(self) -> list[slice]:
        """Where parameters of two dimensions or more are, neither biases nor normalization: (P',) of all, in order."""
        assert self.server.model is not None
        model = self.server.model()
        return sorted((model.layers[name] for name, shape in model.shapes.items() if len(shape) >= 2), key=_start)


def _start(part: slice) -> int:
    return int(part.start)


def importance(change: Tensor, model: Tensor, weights: list[slice]) -> Tensor:
    """|change · model| (P,) of the parameters in ``weights``: (P',) float32. Overwrites ``model``, to save memory."""
    model.mul_(change).abs_()
    return torch.cat([model[part] for part in weights])


def critical(importances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices (2, C) int64 and importances (2, C) of the top and the bottom ``count`` (C, at least one) of (P',).

    May overwrite ``importances``, to save memory.
    """
    if importances.device.type != "cpu":
        return by_topk(importances, count)
    numbers = importances.numpy()
    bottom = smallest(numbers, count)
    low = numbers[bottom]
    top = smallest(np.negative(numbers, out=numbers), count)
    return torch.from_numpy(np.stack([top, bottom])), torch.from_numpy(np.stack([-numbers[top], low]))


def by_topk(importances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """:func:`critical` in one go on a GPU, where nothing waits for it."""
    top, bottom = (importances.topk(count, largest=largest, sorted=False) for largest in (True, False))
    return torch.stack([top.indices, bottom.indices]), torch.stack([top.values, bottom.values])


def smallest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices, ascending, of the ``count`` smallest of (P',) ``values``; of equal ones the first.

    A sample says below what they are: several times as fast as ``torch.topk`` on a CPU. Where it is wrong, all count.
    """
    step = 61  # prime, so that the sample is not of the same channel all over
    sample, at = values[::step], int(1.2 * count / step) + 16
    pool = np.flatnonzero(values <= np.partition(sample, at)[at]) if at < len(sample) else np.empty(0, np.int64)
    if len(pool) < count:
        pool = np.arange(len(values))
    found = values[pool]
    limit = np.partition(found, count - 1)[count - 1]
    taken = found < limit
    equal = np.flatnonzero(~(taken | (found > limit)))
    taken[equal[: count - np.count_nonzero(taken)]] = True
    chosen: NDArray[np.int64] = pool[taken]
    return chosen


def similarities(index: Tensor, values: Tensor, size: int) -> Tensor:
    """(M, M) float64, from 0 to 2, 1 on the diagonal, of M models by their critical parameters (2, C) of ``size``.

    Mean over top and bottom parameters of (r + 1) / 2 + Jaccard index. Nothing is read by the host.
    """
    models, device = len(index), index.device
    place = index + size * torch.arange(2, device=device)[:, None]
    numbered = torch.zeros(2 * size, dtype=torch.int32, device=device)
    numbered[place] = 1
    place = numbered.cumsum(0, dtype=torch.int32).sub_(1)[place].long()  # among those that are critical to any model
    del numbered
    table = values.new_full((min(2 * size, index.numel()),), _ABSENT)
    result = torch.eye(models, dtype=torch.float64, device=device)
    rows = max(1, (1 << (18 if device.type == "cpu" else 24)) // index[0].numel())  # as geometry has its blocks
    for i in range(1, models):
        table[place[i]] = values[i]
        for start in range(0, i, rows):
            others = slice(start, min(start + rows, i))
            found = table[place[others]]
            result[i, others] = result[others, i] = _similarity(values[others], found, found == _ABSENT)
        table[place[i]] = _ABSENT
    return result


def _similarity(a: Tensor, b: Tensor, absent: Tensor) -> Tensor:
    """(N,) from (N, 2, C) importances without those that are ``absent``; r is of two passes in float64."""
    size = absent.shape[2]
    count = size - absent.sum(dim=2).double()
    jaccard = count / (2 * size - count)
    defined = count > 1
    centered = []
    for part in (a, b):
        common = part.masked_fill(absent, 0.0)
        low, high = part.masked_fill(absent, torch.inf).amin(dim=2), common.amax(dim=2)
        defined &= (low < high) & high.isfinite()
        exact = common.double()
        centered.append((exact - (exact.sum(dim=2) / count)[..., None]).masked_fill_(absent, 0.0))
    a, b = centered
    scale = (torch.linalg.vecdot(a, a) * torch.linalg.vecdot(b, b)).sqrt()
    alike: Tensor = (torch.linalg.vecdot(a, b) / scale).clamp(-1, 1).add(1).div(2)
    return (alike.masked_fill(~(defined & (scale > 0)), 0.0) + jaccard).mean(dim=1)


def score_weights(scores: Tensor) -> Tensor:
    """α (K,) float64 in [0, 1] from (K,) float64 scores; the largest is 1."""
    scores = round_significant(scores)  # equal ones must not be spread from 0 to 1 by their last bits
    low, high = scores.min(), scores.max()
    scaled = (scores - low) / (high - low)
    scaled = scaled.masked_fill(scaled == 1, 0.99).masked_fill(scaled == 0, 0.01)
    return (torch.logit(scaled) + 0.5).clamp(0, 1).masked_fill(low == high, 1.0)
