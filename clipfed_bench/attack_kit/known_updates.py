"""What untargeted attacks estimate the honest clients by: the honest updates of malicious clients, theirs to know."""

from __future__ import annotations

import torch
from torch import Tensor

from clipfed_bench.api import CraftContext
from clipfed_bench.core.errors import UserError


def known_updates(updates: Tensor, context: CraftContext, least: int) -> Tensor:
    """``updates`` (M, P) of the round's malicious clients, which trained honestly, and of others: (N, P) float32.

    Others are malicious clients outside the round, the first in their order: as many as it takes to know ``least``, or
    all there are. Each of them trains for it.
    """
    others = [client for client in context.colluders if client not in context.clients]
    more = [context.honest(client).delta for client in others[: max(0, least - len(updates))]]
    return torch.cat([updates, torch.stack(more)]) if more else updates


def several_updates(attack: str, updates: Tensor, context: CraftContext, least: int) -> Tensor:
    """:func:`known_updates`, of two clients or more: of one there is no deviation. Raises UserError."""
    known = known_updates(updates, context, max(2, least))
    if len(known) < 2:
        raise UserError(
            f"{attack}: the updates of one malicious client have no deviation, so there is nothing to attack with; two "
            "malicious clients are needed, of all if not of a round (malicious)."
        )
    return known


def check_known(attack: str, known: int) -> None:
    """Raise UserError unless ``known`` is a number of clients."""
    if known < 1:
        raise UserError(f"{attack}: known {known} is not a number of malicious clients; it is 1 or more.")
