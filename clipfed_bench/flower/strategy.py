"""The strategy: Flower's FedAvg samples nodes and sends models, a defense aggregates what comes back.

For ``flwr.serverapp``, the interface of messages and records that Flower 1.42 documents as current.
"""

from __future__ import annotations

from collections.abc import Iterable
from logging import INFO, getLogger
from typing import Any

import torch

from clipfed_bench.api import ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.flower.server import DefenseServer, Network, Reply, State

try:
    from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
    from flwr.serverapp.strategy import FedAvg
except ImportError as error:
    raise ImportError(f"{error}: clipfed_bench.flower needs pip install 'clipfed-bench[flwr]'.") from error


class DefenseStrategy(FedAvg):
    """``DefenseStrategy("krum[malicious=0.3]", server)``: any defense of ``clipfed-bench list defenses``, in Flower.

    Clients reply as to Flower's FedAvg: one ArrayRecord of the whole model, e.g. ``ArrayRecord(model.state_dict())``,
    and one MetricRecord with ``num-examples``. Arrays that end with ``running_mean`` and ``running_var`` are running
    statistics, which are in no distance. Figures of the defense are among the metrics of the round, as
    ``defense-NAME``.
    """

    def __init__(
        self,
        defense: str,
        server: ServerContext,
        *,
        network: Network | None = None,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        client_key: str = "client-id",
        **sampling: Any,
    ) -> None:
        """``server`` is what the server has: the classes, a seed, the share of malicious clients to expect, and what
        the defense needs besides, server data or a teacher. ``network`` and ``image_shape`` (C, H, W) are for defenses
        that run the model (deepsight, clip-fed); a network has the names of the record, and for clip-fed it is a
        :class:`clipfed_bench.api.Classifier`. ``sampling`` are FedAvg's own arguments.

        Clients go by the whole number that they reply as ``client_key`` among their metrics. Say it only where clients
        are your own, as in a simulation: the same replies give the same bits then, whoever is first. Without it they go
        by Flower's ids of nodes, which no client can choose. Raises UserError.
        """
        super().__init__(**sampling)
        self._server = DefenseServer(defense, server, network, image_shape)
        self._key = client_key
        self._global: State = {}

    def summary(self) -> None:
        """Log what aggregates, and FedAvg's settings."""
        getLogger("flwr").log(INFO, "\t├──> Defense: %s", self._server.label)
        super().summary()

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Any) -> Any:
        """As FedAvg does; the global model is remembered, as updates are what differs from it."""
        self._global = _state(arrays)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The model that the defense makes of the replies, and metrics. Raises UserError where replies are unfit."""
        whole = list(replies)
        valid = [message for message in whole if message.has_content()]
        clients = self._clients(valid)
        _, metrics = super().aggregate_train(server_round, whole)  # checks the records
        if not valid:
            return None, metrics
        received = [self._reply(client, message) for client, message in zip(clients, valid, strict=True)]
        state, figures = self._server.aggregate(self._global, received, server_round)
        metrics = MetricRecord({**(metrics or {}), **{f"defense-{name}": value for name, value in figures.items()}})
        return ArrayRecord({name: Array(value.numpy()) for name, value in state.items()}), metrics

    def _clients(self, messages: list[Message]) -> list[int]:
        """Their ids, which are no metrics and are taken out of them."""
        records = [record for message in messages for record in message.content.metric_records.values()]
        if not all(self._key in record for record in records):
            return [message.metadata.src_node_id for message in messages]
        found = [record.pop(self._key) for record in records]
        if not all(isinstance(client, int) for client in found):
            raise UserError(f"clients reply {self._key} as {', '.join(map(str, found))}; they must be whole numbers.")
        return found

    def _reply(self, client: int, message: Message) -> Reply:
        (arrays,), (metrics,) = message.content.array_records.values(), message.content.metric_records.values()
        return Reply(client, float(metrics[self.weighted_by_key]), _state(arrays))


def _state(arrays: ArrayRecord) -> State:
    return {name: torch.from_numpy(array.numpy()) for name, array in arrays.items()}
