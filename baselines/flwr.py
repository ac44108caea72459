"""Flower's strategies as they are: of whole models, weighted by images, and MultiKrum averages 1 client unless told.

Beutel et al., "Flower: A Friendly Federated Learning Research Framework", 2020 (arXiv 2007.14390). ``flwr:NAME`` is the
class NAME of ``flwr.serverapp.strategy``, Flower's current interface, with the parameters of its constructor as
options, but for those about sampling nodes and keys of records. Each round it is given the global model, and the
replies of the round's clients: their whole models as one float32 array, and their numbers of images.

What differs from the rules of this project: numbers of malicious nodes are 0 unless set. Multi-Krum averages
``num_nodes_to_select`` clients, 1 unless set, by their numbers of images. Distances are differences of squares of whole
models in float32, so that of models far from zero and close to each other another client may be chosen. FedTrimmedAvg
trims none where beta n < 1. FedAdam, FedAdagrad, FedYogi and FedAvgM are optimizers on the server, no defenses.

Models are made bytes and read again, as by Flower: tens of times the reading of the updates.

Deviations: BatchNorm running statistics are the mean by numbers of images, and in no distance; to a user of Flower
they are a part of the model like any other. Which clients a strategy has selected it does not say: TPR and FPR are not
measured. What it draws comes from a stream of the round. State: its momentum. Not here are wrappers of another
strategy (differential privacy), those for trees, and those that ask something of clients: QFedAvg, FedProx.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from baselines._libraries import load, make, refused, streams
from clipfed_bench.api import Aggregate, ClientUpdates, Defense, Library, Member, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.rng import stream_seed

LIBRARY = Library(
    module="flwr.serverapp.strategy",
    extra="flwr",
    set_here=(
        "fraction_train",
        "fraction_evaluate",
        "min_train_nodes",
        "min_evaluate_nodes",
        "min_available_nodes",
        "weighted_by_key",
        "arrayrecord_key",
        "configrecord_key",
    ),
    unfit={
        "FedProx": "its term is the clients' to add, and its server averages as flwr:FedAvg",
        "FedXgbBagging": "it aggregates trees",
        "FedXgbCyclic": "it aggregates trees",
        "QFedAvg": "it asks clients for their training loss, which no client tells here",
    },
)


@dataclass(frozen=True)
class Config:
    member: Member


@dataclass(frozen=True)
class Reply:
    """What a strategy reads of a client's message; Flower makes messages only in its own runs."""

    content: Any

    def has_error(self) -> bool:
        return False


class Flwr(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        self._name = f"flwr:{config.member.name}"
        self._app = load(LIBRARY, "flwr.app")
        logging.getLogger("flwr").setLevel(logging.ERROR)  # it tells of every round
        self._strategy = make(LIBRARY, config.member, fraction_train=0.0)  # it samples nobody, and needs no nodes

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        params = updates.global_params
        seed = stream_seed(context.seed, "flwr", context.round)
        with refused(f"{self._name} of {len(updates)} clients"), streams(seed, torch.device("cpu")):
            found = self._round(updates, context.round)
        if found is None:
            raise UserError(f"{self._name} comes to no aggregate of {len(updates)} clients; it needs more of them.")
        delta = to_device(torch.from_numpy(found), params.device).double() - params.double()
        return Aggregate(delta.float(), updates.mean(updates.num_samples).buffers)

    def _round(self, updates: ClientUpdates, number: int) -> Any:
        """The model (P,) that the strategy makes of the clients' models, None where it makes none of them."""
        app, strategy, params = self._app, self._strategy, updates.global_params
        if hasattr(strategy, "current_arrays"):
            strategy.current_arrays = None  # FedAvgM would go on from its own copy of the global model
        strategy.configure_train(number, self._record(params), app.ConfigRecord(), None)
        replies = []
        for delta, images in zip(updates.deltas, updates.num_samples.tolist(), strict=True):
            metrics = app.MetricRecord({"num-examples": int(images)})
            replies.append(Reply(app.RecordDict({"arrays": self._record(params + delta.float()), "metrics": metrics})))
        arrays, _ = strategy.aggregate_train(number, replies)
        return None if arrays is None else arrays.to_numpy_ndarrays()[0]

    def _record(self, model: Tensor) -> Any:
        """A model (P,) as Flower sends it, in one array."""
        return self._app.ArrayRecord([to_host(model).numpy()])

    def state(self) -> dict[str, Tensor]:
        return momentum(vars(self._strategy))

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            attribute, key = name.split("/")
            array = value.cpu().numpy()
            setattr(self._strategy, attribute, {key: array} if key else [array])


def momentum(attributes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Arrays that a strategy keeps, each in a list (``NAME/``) or a dictionary (``NAME/KEY``), but for its models."""
    found: dict[str, Tensor] = {}
    for name, value in attributes.items():
        items = {"": value[0]} if isinstance(value, list) else value if isinstance(value, dict) else {}
        if name != "current_arrays":
            found |= {f"{name}/{key}": torch.from_numpy(array) for key, array in items.items()}
    return found
