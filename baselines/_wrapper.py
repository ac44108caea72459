"""Defenses that mix the clients' updates, and hand the mixtures to another defense as if they were updates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import Figure, to_device


class Wrapper(Defense):
    """Another defense, ``config.of``, e.g. ``"krum[malicious=0.3]"``, on mixtures of the round's updates.

    What the other one prepares, purifies, keeps from round to round and measures is handed on. A client counts as
    accepted where it is part of a mixture that the other one accepts. Raises UserError for an ``of`` that is unknown,
    is itself a wrapper, or needs server data or a teacher: a cell has those only where its own defense asks for them.
    """

    name: ClassVar[str]

    def __init__(self, config: Any, server: ServerContext, malicious: float) -> None:
        """``malicious``: the share of mixtures that malicious clients may be part of, which the other one is told."""
        super().__init__(config, server)
        self.inner = _inner(self.name, config.of, replace(server, assumed_malicious=malicious))

    @abstractmethod
    def mixed(self, updates: ClientUpdates, context: RoundContext) -> tuple[ClientUpdates, Tensor, dict[str, Figure]]:
        """M mixtures, which clients are part of each, (M, K) bool, and figures of the mixing."""

    def prepare(self) -> None:
        self.inner.prepare()

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        mixtures, parts, info = self.mixed(updates, context)
        result = self.inner.aggregate(mixtures, context)
        kept = result.kept
        if kept is not None:
            kept = (to_device(parts, kept.device) & kept[:, None]).any(dim=0)
        return replace(result, kept=kept, info={**result.info, **info})

    def purify(self, model: nn.Module, context: RoundContext) -> None:
        self.inner.purify(model, context)

    def state(self) -> dict[str, Tensor]:
        return self.inner.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.inner.load_state(state)


def _inner(name: str, label: str, server: ServerContext) -> Defense:
    try:
        choice = choose("defense", label)
        for needed, wanted in (("a teacher", "needs_teacher"), ("server data", "needs_server_data")):
            if getattr(choice.component, wanted):
                raise UserError(f"{choice.name} needs {needed}, which only a cell's own defense is given.")
        inner = create_defense(choice, server)
    except UserError as error:
        raise UserError(f"{name}: of {label} cannot be wrapped: {error}") from None
    if isinstance(inner, Wrapper):
        raise UserError(f"{name}: of {label} is itself a wrapper; name a defense that is none, e.g. krum.")
    return inner
