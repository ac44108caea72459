"""Adaptive tuning: what an attacker changes after it has learned which of its uploads were accepted.

Li et al., "3DFed", IEEE S&P 2023, as its authors' code has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

ENOUGH = 0.8
"""Share of a group that has to be accepted [paper: its code]."""
NEAR = 0.1
"""How far above an accepted group's share others draw theirs [paper: its code]."""


@dataclass(frozen=True)
class Tuning:
    """How the next uploads are made."""

    shares: tuple[float, ...]
    """a of each group of backdoored uploads, in their order."""
    decoys: int = 0
    """k."""
    noisy: bool = False
    """Whether the server's noise hides what was accepted; then it stays so."""


def tuned(before: Tuning, verdicts: Sequence[str] | None, group: int, least: float, stream: torch.Generator) -> Tuning:
    """What follows from ``verdicts`` on the last uploads, the ``before.decoys`` last of which were decoys.

    ``group``: clients of a group; ``least``: the smallest share; None for verdicts: they cannot be told.

    1. k falls by the number of accepted decoys. It grows by one where no upload was accepted, nor a backdoor clipped.
    2. A group is good where four in five were accepted. Where none is, each draws its share anew. One group that is
       good keeps it. Of several, all draw between the two smallest shares of good ones if all are good, else from the
       smallest up to 0.1 above it.
    """
    if verdicts is None or before.noisy:
        return Tuning((_kept_inside(least),) * len(before.shares), noisy=True)
    backdoors, decoys = verdicts[: len(verdicts) - before.decoys], verdicts[len(verdicts) - before.decoys :]
    accepted = decoys.count("accepted")
    nothing = accepted == 0 and all(verdict == "rejected" for verdict in backdoors)
    parts = [backdoors[start : start + group] for start in range(0, len(backdoors), group)]
    good = sorted(
        share for share, part in zip(before.shares, parts, strict=True) if part.count("accepted") >= ENOUGH * len(part)
    )
    shares = before.shares
    if not good:
        shares = draw(len(parts), least, 1.0, stream)
    elif len(parts) > 1:
        shares = draw(len(parts), good[0], good[1] if len(good) == len(parts) else good[0] + NEAR, stream)
    return Tuning(shares, max(0, before.decoys - accepted) + nothing)


def draw(count: int, low: float, high: float, stream: torch.Generator) -> tuple[float, ...]:
    """``count`` shares, uniform from ``low`` to ``high``, kept from 0.01 to 0.99."""
    values = torch.rand(count, generator=stream, dtype=torch.float64)
    return tuple(_kept_inside(low + (high - low) * value) for value in values.tolist())


def _kept_inside(share: float) -> float:
    return min(max(share, 0.01), 0.99)
