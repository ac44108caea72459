"""Defense-aware: all malicious clients upload one update, moved towards honest ones as far as the defense demands.

Fenaux et al., "Hammer and Anvil: A Principled Defense Against Backdoors in Federated Learning", 2025 (arXiv
2509.08089): the adaptive adversary, which knows the defense, its parameters and the round's honest updates. The paper
was available as an abstract only; what follows is its authors' public code. With n updates, f of them malicious, and m
the mean of the poisoned ones, malicious clients upload, where the defense

- selects clients (Krum in the code): m, if m is selected. Else a m + (1 - a) b, with b the mean of the honest updates
  among the n - f - 2 nearest to m, and a the largest of ten bisections of [0, 1] at which it is selected, or 0.
- clips norms to M (``norm-clip``): each its own update, stretched or shortened to the norm M.
- takes the coordinate median (``median``): s m + (1 - s) c, with c the median, and l and r the values beside it. s is
  the 0.7 quantile over the coordinates of s_j = 1 where l_j <= m_j <= r_j, else (r_j - c_j) / (m_j - c_j) above r_j
  and (c_j - l_j) / (c_j - m_j) below l_j.

Deviations: the code's median is one of means of random groups, estimated from a thousand draws; here groups have one
client. A bound that the defense finds by itself is estimated as the median norm of the honest updates. A defense with
a past is tried as if it had none. Another formula of the code for a, from Krum's score, and a constant one are left
out, and so is what changes the attacker's learning rate. BatchNorm running statistics are uploaded as trained; the code
moves them as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext
from clipfed_bench.attack_kit.borrowed_trigger import ModelAttack
from clipfed_bench.attack_kit.known_updates import known_updates
from clipfed_bench.attack_kit.rehearsal import Rehearsal
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.distances import distances_to, median, row_norms
from clipfed_bench.toolbox.sums import blocks

QUANTILE = 0.7
"""Of the coordinates' s_j [paper: its code]."""


@dataclass(frozen=True)
class Config:
    trigger: str = "badnets"
    """Attack whose trigger and poisoning are used, with its options in brackets if any [paper: its code]."""
    defense: str = "krum"
    """Defense to adapt to, one that selects clients, norm-clip or median, with its options in brackets if any [ours].
    It need not be the one in place."""
    knows: Literal["all", "colluders"] = "all"
    """Honest updates that it is granted: those of the round's other clients [paper], or, as other attacks here have to
    do with, what malicious clients would upload if they were honest."""
    depth: int = 10
    """Bisections, 1 or more [paper: its code]."""


class DefenseAware(ModelAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        if config.knows not in ("all", "colluders"):
            raise UserError(f"defense-aware: unknown knows '{config.knows}'; it is 'all' or 'colluders'.")
        if config.depth < 1:
            raise UserError(f"defense-aware: depth {config.depth} is too few; it is 1 or more.")
        self._rehearsal = Rehearsal("defense-aware", "defense", config.defense, context)

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        honest = context.others() if self.config.knows == "all" else self._colluders(context)
        if len(honest) == 0:
            return updates.clone()
        if self._rehearsal.name.partition("[")[0] == "norm-clip":
            return stretched(updates, self._bound(honest, context))
        center = updates.mean(dim=0)
        if self._rehearsal.name.partition("[")[0] == "median":
            one = beside_the_median(center, torch.cat([updates, honest]))
        else:
            one = self._selected(center, honest, context)
        return one.repeat(len(updates), 1)

    def _colluders(self, context: CraftContext) -> Tensor:
        """As many honest updates as the round's other clients have, or as there are malicious clients."""
        own = torch.stack([context.honest(client).delta for client in context.clients])
        count = context.participants - len(context.clients)
        return known_updates(own, context, count)[:count]

    def _bound(self, honest: Tensor, context: CraftContext) -> Tensor:
        share = len(context.clients) / context.participants
        given = self._rehearsal.defense(share, context.seed, honest.device).config.bound
        return median(row_norms(honest)) if given is None else honest.new_tensor(given)

    def _selected(self, center: Tensor, honest: Tensor, context: CraftContext) -> Tensor:
        statistics = context.buffers[0]
        if self._rehearsal.accepted(center, honest, statistics, context):
            return center
        others = nearest_mean(center, honest, len(context.clients))
        low, high, best = 0.0, 1.0, others
        for _ in range(self.config.depth):
            middle = (low + high) / 2
            mixed = torch.lerp(others, center, middle)
            if self._rehearsal.accepted(mixed, honest, statistics, context):
                low, best = middle, mixed
            else:
                high = middle
        return best


def nearest_mean(center: Tensor, honest: Tensor, malicious: int) -> Tensor:
    """b (P,): of ``honest`` (N, P), the mean of those among the n - f - 2 nearest to one of f copies of ``center``."""
    count = max(1, len(honest) - malicious - 1)  # f - 1 of the n - f - 2 are the other copies
    nearest = torch.argsort(distances_to(honest, center), stable=True)[:count]
    return honest.index_select(0, nearest).mean(dim=0)


def stretched(updates: Tensor, bound: Tensor) -> Tensor:
    """``updates`` (M, P), each of the norm ``bound``; zeros stay zeros."""
    norms = row_norms(updates)
    return updates * torch.where(norms > 0, bound / norms, 0.0).float()[:, None]


def beside_the_median(center: Tensor, updates: Tensor) -> Tensor:
    """s m + (1 - s) c (P,), of m, ``center`` (P,), and all ``updates`` (K, P) of the round."""
    low, middle, high = (torch.cat(parts) for parts in zip(*map(_around, blocks(updates)), strict=True))
    above, below = (high - middle) / (center - middle), (middle - low) / (middle - center)
    shares = torch.where(center > high, above, torch.where(center < low, below, 1.0))
    place = QUANTILE * (len(shares) - 1)
    ordered, first = torch.sort(shares).values, int(place)
    share = torch.lerp(ordered[first], ordered[min(first + 1, len(ordered) - 1)], place - first)
    return torch.lerp(middle, center, share)


def _around(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The value before the median, the median, and the value after it, of each column of (K, ...)."""
    ordered, count = torch.sort(block, dim=0).values, len(block)
    odd, left, right = count % 2, (count - 1) // 2, count // 2
    middle = (ordered[left] + ordered[right]) / 2
    return ordered[max(0, left - odd)], middle, ordered[min(right + odd, count - 1)]
