"""A defense on a server that gets whole models, by the names of their arrays, as Flower's clients send them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from clipfed_bench.api import ClientUpdates, Defense, RoundContext, ServerContext, ServerModel
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.core.errors import UserError
from clipfed_bench.flower.layout import Layout
from clipfed_bench.simulator.aggregation import aggregate_updates
from clipfed_bench.simulator.evaluate import predict
from clipfed_bench.toolbox.device import read
from clipfed_bench.toolbox.images import Images, Normalizer

State = Mapping[str, Tensor]
"""A model: name -> array, as of ``state_dict()``."""
Network = Callable[[], nn.Module]
"""Makes a network of the model's architecture: normalized images (B, C, H, W) -> logits."""


@dataclass(frozen=True)
class Reply:
    """What a client sends back in a round."""

    client: int
    images: float
    state: State


class DefenseServer:
    """The global model, and the defense that was chosen, from round to round, on the CPU.

    A round is one of the simulator: updates that are not finite are dropped, the others are aggregated in the order of
    their clients' ids, the aggregate is added, and the model is purified.
    """

    def __init__(self, defense: str, server: ServerContext, network: Network | None, image_shape: tuple[int, int, int]):
        """``defense`` with its options, e.g. ``krum[malicious=0.3]``. Raises UserError, also where ``server`` has
        neither the data nor the teacher that the defense needs, or there is no ``network`` to purify."""
        self._choice, self._server = choose("defense", defense), server
        self._network, self._shape = network, image_shape
        for name, given in (("server_data", server.server_data), ("teacher", server.teacher)):
            if getattr(self._choice.component, f"needs_{name}") and given is None:
                raise UserError(f"{self._choice.name} needs {name}; give them to the ServerContext of DefenseStrategy.")
        self._defense: Defense | None = None

    @property
    def label(self) -> str:
        """The defense with its options."""
        return str(self._choice)

    def aggregate(self, state: State, replies: Sequence[Reply], number: int) -> tuple[State, dict[str, float]]:
        """The next global model, and the figures of the defense, of round ``number``, from 1, and the model before it.

        ``replies`` holds at least one. Raises UserError where two are of one client, or of another form than ``state``.
        """
        model = FlowerModel(state, self._server, self._network, self._shape)
        params, buffers = model.layout.flat(state)
        if self._defense is None:
            self._defense = self._new(model)
        context = RoundContext(number, self._server.seed)
        updates = received(model.layout, replies, params, buffers)
        result, _ = aggregate_updates(self._defense, updates, context)
        params, buffers = params + result.delta, result.buffers
        if _purifies(self._defense):
            network = model.load(params, buffers)
            self._defense.purify(network, context)
            params, buffers = model.layout.flat(network.state_dict())
        figures = dict(zip(result.info, read(list(result.info.values())), strict=True))
        if result.kept is not None:
            figures["kept"] = float(result.kept.sum())
        return model.layout.state(params, buffers, state), figures

    def _new(self, model: FlowerModel) -> Defense:
        defense = create_defense(self._choice, replace(self._server, model=self._server.model or (lambda: model)))
        if _purifies(defense) and self._network is None:
            raise UserError(f"{self._choice.name} trains the global model; give DefenseStrategy its network.")
        defense.prepare()
        return defense


class FlowerModel(ServerModel):
    """The server's own model, of the arrays that clients send."""

    def __init__(self, state: State, server: ServerContext, network: Network | None, image_shape: tuple[int, int, int]):
        self.layout, self._like, self._server, self._make = Layout(state), dict(state), server, network
        self.layers, self.shapes, self.image_shape = self.layout.layers, self.layout.shapes, image_shape

    @cached_property
    def network(self) -> nn.Module:
        """Raises UserError where there is none."""
        if self._make is None:
            raise UserError("this defense runs the model on the server; give DefenseStrategy its network.")
        return self._make()

    def load(self, params: Tensor, buffers: Tensor) -> nn.Module:
        """The network with these parameters (P,) and running statistics (Q,)."""
        self.network.load_state_dict(self.layout.state(params, buffers, self._like))
        return self.network

    def predict(self, params: Tensor, buffers: Tensor, pixels: Tensor) -> Tensor:
        normalize = Normalizer(self._server.mean, self._server.std)
        return predict(self.load(params, buffers), normalize(pixels))

    def train(
        self, data: Images, params: Tensor, buffers: Tensor, context: RoundContext, as_many: float | None = None
    ) -> tuple[Tensor, Tensor]:
        raise UserError(
            "this defense trains on the server as clients do, which only you know: give the ServerContext of "
            "DefenseStrategy a model of your own, a ServerModel with train()."
        )


def received(layout: Layout, replies: Sequence[Reply], params: Tensor, buffers: Tensor) -> ClientUpdates:
    """What clients sent to a global model of ``params`` (P,) and ``buffers`` (Q,), in the order of their ids."""
    in_order = sorted(replies, key=lambda reply: reply.client)
    clients = tuple(reply.client for reply in in_order)
    if len(set(clients)) < len(clients):
        raise UserError(f"of the clients {', '.join(map(str, clients))} one has replied twice; ids must differ.")
    flat = [layout.flat(reply.state) for reply in in_order]
    deltas = torch.stack([own for own, _ in flat]) - params
    samples = torch.tensor([reply.images for reply in in_order], dtype=torch.float64)
    return ClientUpdates(deltas, torch.stack([own for _, own in flat]), samples, clients, params, buffers)


def _purifies(defense: Defense) -> bool:
    return type(defense).purify is not Defense.purify
