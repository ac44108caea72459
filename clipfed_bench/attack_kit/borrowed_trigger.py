"""Attacks on the model: they choose how malicious clients train or what they upload, and borrow a trigger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clipfed_bench.api import AdaptContext, Attack, AttackContext
from clipfed_bench.components.registry import choose, create_attack
from clipfed_bench.core.errors import UserError


class ModelAttack(Attack):
    """Trigger and poisoning are those of the attack that ``config.trigger`` names, e.g. ``"badnets[size=3]"``.

    Raises UserError for a name or an option that does not exist, and for an attack on the model or an untargeted one.
    """

    def __init__(self, config: Any, context: AttackContext) -> None:
        super().__init__(config, context)
        choice = choose("attack", config.trigger)
        self._source = create_attack(choice, context)
        if isinstance(self._source, ModelAttack) or self._source.untargeted:
            raise UserError(f"trigger: '{choice.name}' has no trigger of its own; name one that has, e.g. badnets.")
        self.adaptive = self._source.adaptive

    def trigger(self, images: Tensor) -> Tensor:
        return self._source.trigger(images)

    def client_trigger(self, images: Tensor, attacker: int) -> Tensor:
        return self._source.client_trigger(images, attacker)

    def poison(self, images: Tensor, labels: Tensor, attacker: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        return self._source.poison(images, labels, attacker, count)

    def adapt(self, context: AdaptContext) -> None:
        self._source.adapt(context)

    def state(self) -> dict[str, Tensor]:
        return self._source.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._source.load_state(state)
