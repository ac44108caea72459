"""A round that malicious clients make up, to try a defense on what they would upload."""

from __future__ import annotations

import torch
from torch import Tensor

from clipfed_bench.api import (
    AttackContext,
    ClientUpdates,
    CraftContext,
    Defense,
    RoundContext,
    ServerContext,
    ServerModel,
)
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_host


class Rehearsal:
    """The defense that an attack's option names, e.g. ``"flame"``, fresh for each trial, with no past.

    Raises UserError for one that is unknown, or that needs what only the server has.
    """

    def __init__(self, attack: str, option: str, label: str, task: AttackContext) -> None:
        self._choice, self._task, self._what = choose("defense", label), task, f"{attack}: {option}"
        if self._choice.component.needs_server_data or self._choice.component.needs_teacher:
            raise UserError(f"{self._what} '{self.name}' needs what only the server has; name another defense.")

    @property
    def name(self) -> str:
        return self._choice.name

    def defense(self, share: float, seed: int, device: torch.device) -> Defense:
        """The defense of a server that is told to expect a ``share`` of malicious clients."""
        server = ServerContext(
            self._task.num_classes,
            classes=(),
            mean=(0.0,) * self._task.image_shape[0],
            std=(1.0,) * self._task.image_shape[0],
            seed=seed,
            assumed_malicious=share,
            device=device,
            model=self._no_model,
        )
        return create_defense(self._choice, server)

    def accepted(self, crafted: Tensor, others: Tensor, statistics: Tensor, context: CraftContext) -> bool:
        """Whether it keeps one of the copies of ``crafted`` (P,), one for each malicious client, beside ``others``.

        ``others`` (N, P) float32; everybody has ``statistics`` (Q,) and as much data. A round that is not finite
        counts as accepted: no filter takes it, the server drops what has diverged. Raises UserError for a defense that
        selects no clients.
        """
        copies = len(context.clients)
        deltas = torch.cat([crafted.expand(copies, -1), others])
        if not to_host(torch.isfinite(deltas).all()):
            return True
        count = len(deltas)
        buffers, size = statistics.expand(count, -1), torch.ones(count, dtype=torch.float64)
        updates = ClientUpdates(deltas, buffers, size, tuple(range(count)), context.global_params, statistics)
        defense = self.defense(copies / count, context.seed, deltas.device)
        kept = defense.aggregate(updates, RoundContext(context.round)).kept
        if kept is None:
            raise UserError(f"{self._what} '{self.name}' selects no clients; name one that does, e.g. flame.")
        return bool(to_host(kept[:copies].any()))

    def _no_model(self) -> ServerModel:
        raise UserError(f"{self._what} '{self.name}' looks into models, which is not tried here; name another defense.")
