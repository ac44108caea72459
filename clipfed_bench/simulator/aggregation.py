"""Aggregation of one round: what is not finite is dropped before the defense sees it, and its selection is judged."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clipfed_bench.api import (
    Aggregate,
    ClientUpdates,
    Defense,
    RoundContext,
)
from clipfed_bench.simulator.shape_checks import fitting
from clipfed_bench.toolbox.device import Figure, to_device, to_host


def aggregate_updates(
    defense: Defense, updates: ClientUpdates, context: RoundContext
) -> tuple[Aggregate, tuple[int, ...]]:
    """``defense.aggregate`` on the finite updates, and whose they are; those that hold NaN or infinity are dropped.

    ``kept`` of the result has an entry for each of these clients: what is dropped was never before the defense. When
    nothing finite is left the global model stays as it is. Raises UserError for a result of another shape than
    :class:`Aggregate` says.
    """
    finite = to_host(torch.isfinite(updates.deltas.sum(dim=1)) & torch.isfinite(updates.buffers.sum(dim=1)))
    if not finite.all():  # a finite row can have an overflowing sum: look closer only then
        finite = to_host(torch.isfinite(updates.deltas).all(dim=1) & torch.isfinite(updates.buffers).all(dim=1))
        updates = updates.select(finite)
    if len(updates) == 0:
        return Aggregate(torch.zeros_like(updates.global_params), updates.global_buffers), ()
    return _aggregate(defense, updates, context), updates.clients


def _aggregate(defense: Defense, updates: ClientUpdates, context: RoundContext) -> Aggregate:
    result, name = defense.aggregate(updates, context), type(defense).__name__
    fitting(result.delta, updates.global_params.shape, f"the delta of {name}.aggregate")
    fitting(result.buffers, updates.global_buffers.shape, f"what {name}.aggregate gives as buffers")
    if result.kept is not None:
        fitting(result.kept, (len(updates),), f"what {name}.aggregate gives as kept", torch.bool)
    return result


def detection(kept: Tensor | None, clients: tuple[int, ...], malicious: tuple[int, ...]) -> tuple[Figure, Figure]:
    """(TPR, FPR) of a selection: shares of malicious and of benign clients that were rejected; nan where undefined.

    ``kept`` (K,) bool has an entry for each of ``clients``, or is None where nothing was selected. Where there is a
    selection the rates are tensors without dimensions, float64, on its device.
    """
    if kept is None:
        return math.nan, math.nan
    bad = torch.tensor([client in malicious for client in clients])
    groups = to_device(torch.stack([bad, ~bad]), kept.device)
    tpr, fpr = (groups & ~kept).sum(dim=1).double() / groups.sum(dim=1)
    return tpr, fpr
