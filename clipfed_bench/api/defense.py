"""What a server receives in a round, what it has of its own, and what a defense is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.device import Figure, to_device, to_host
from clipfed_bench.toolbox.images import Images, ServerData
from clipfed_bench.toolbox.rng import generator
from clipfed_bench.toolbox.sums import weighted_sum


@dataclass(frozen=True)
class ClientUpdates:
    """What the server receives in a round. It never says which client is malicious."""

    deltas: Tensor
    """(K, P) trained minus global parameters: float32, or bfloat16 in cells that say so (``update_dtype``). Sums need
    float32: :meth:`mean` and :mod:`clipfed_bench.toolbox.distances` take both without a copy of the whole."""
    buffers: Tensor
    """(K, Q) float32: the clients' BatchNorm running statistics (values, not differences). They are aggregated and
    never part of a distance, norm or cosine."""
    num_samples: Tensor
    """(K,) float64: training images each client says it has."""
    clients: tuple[int, ...]
    """Client ids, for defenses that keep a history."""
    global_params: Tensor
    """(P,) float32, the model the round started from."""
    global_buffers: Tensor
    """(Q,) float32."""

    def __len__(self) -> int:
        return len(self.clients)

    def select(self, rows: Tensor) -> ClientUpdates:
        """The updates of ``rows`` (int64 indices or a (K,) bool mask), order kept; waits for ``rows`` on a GPU."""
        index = to_host(rows).nonzero().flatten() if rows.dtype == torch.bool else to_host(rows)
        place = to_device(index, self.deltas.device)
        return replace(
            self,
            deltas=self.deltas[place],
            buffers=self.buffers[place],
            num_samples=self.num_samples[index.to(self.num_samples.device)],
            clients=tuple(self.clients[i] for i in index.tolist()),
        )

    def mean(self, weights: Tensor, kept: Tensor | None = None) -> Aggregate:
        """Weighted mean of deltas and buffers; ``weights`` (K,) >= 0 with a positive sum, in any scale."""
        share = to_device((weights.double() / weights.double().sum()).float(), self.deltas.device)
        return Aggregate(weighted_sum(self.deltas, share), share @ self.buffers, kept=kept)


@dataclass(frozen=True)
class Aggregate:
    """What a defense makes of a round's updates."""

    delta: Tensor
    """(P,) float32, added to the global parameters."""
    buffers: Tensor
    """(Q,) float32, the new running statistics."""
    kept: Tensor | None = None
    """(K,) bool: the clients that the defense accepted, or None where it does not select (mean, median)."""
    info: Mapping[str, Figure] = field(default_factory=dict)
    """Figures worth a column in the history, e.g. the clipping bound: numbers, or tensors of one entry. On a GPU leave
    them tensors: for ``float`` of one the host waits in the middle of a round; tensors are read at evaluations."""


class ServerModel(ABC):
    """A model of the server's own, of the architecture that is trained. What is done with it touches no other model."""

    layers: Mapping[str, slice]
    """Parameter name -> its slice of the flat vector. The last layer is ``classifier.weight`` and ``.bias``."""
    shapes: Mapping[str, tuple[int, ...]]
    """Parameter name -> the shape of its slice in memory: (O, H, W, I) for convolutions, (O, I) for linear layers."""
    image_shape: tuple[int, int, int]
    """(C, H, W)."""

    @abstractmethod
    def train(
        self, data: Images, params: Tensor, buffers: Tensor, context: RoundContext, as_many: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Train on ``data`` (on the server's device) from ``params`` (P,) and ``buffers`` (Q,), as a client does.

        Same epochs, batches and optimizer as the clients, and a random stream of the server's. With ``as_many`` > 0 it
        goes through ``data`` for as many steps as a client that has ``as_many`` images takes in those epochs. Returns
        (P,) trained minus given parameters, and (Q,) running statistics; the arguments stay as they are.
        """

    @abstractmethod
    def predict(self, params: Tensor, buffers: Tensor, pixels: Tensor) -> Tensor:
        """(B, classes) logits of ``pixels`` (B, C, H, W) float32 in [0, 1], in evaluation mode, without gradients."""


class Teacher(Hashable, Protocol):
    """A frozen vision-language model for the task's classes. Features are float32 of L2 norm 1, with E entries."""

    text_prototypes: Tensor
    """(classes, E): mean of a class's text embeddings over the templates, normalized."""

    def image_features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8, or float in [0, 1] -> (N, E)."""

    def zero_shot_logits(self, features: Tensor) -> Tensor:
        """(N, E) -> (N, classes): the scaled cosine to each text prototype."""


@dataclass(frozen=True)
class ServerContext:
    """What a server legitimately has before round 1: the task and data and a teacher of its own; no test data."""

    num_classes: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """(C,): normalization of the target data set, of pixels in [0, 1]."""
    seed: int = 0
    assumed_malicious: float = 0.2
    """Share of malicious clients that the server is told to expect; the literature grants Krum the true one."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    server_data: Callable[[], ServerData] | None = None
    """Loads the server data set; None unless the defense declares ``needs_server_data``."""
    teacher: Callable[[], Teacher] | None = None
    """Loads the teacher; None unless the defense declares ``needs_teacher``."""
    model: Callable[[], ServerModel] | None = None
    """Makes the server's own model, once; None only where there is no cell, as in tests."""
    compute: Compute = field(default_factory=Compute)
    """How training steps run on the device, for defenses that train the global model."""


@dataclass(frozen=True)
class RoundContext:
    """One round, as the server sees it; numbered from 1."""

    round: int
    seed: int = 0

    def generator(self, purpose: str) -> torch.Generator:
        """The CPU random stream of this round for ``purpose``."""
        return generator(self.seed, purpose, self.round)


class Defense(ABC):
    """A defense on the server. One instance lives as long as a cell and may keep state between rounds.

    A cell may be stopped after any round and go on in another process. Then a new instance, with the same config and
    context, is prepared and given the old one's :meth:`state`. A defense that learns something in one round and uses it
    in a later one overrides ``state`` and ``load_state``; what it draws must come from the round's own streams.

    ``aggregate`` gets finite updates of at least one client: the simulator drops and counts all others before that.
    """

    needs_server_data: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = False

    def __init__(self, config: Any, server: ServerContext) -> None:
        self.config = config
        self.server = server

    def prepare(self) -> None:  # noqa: B027
        """Work before round 1, such as the teacher's features of the server data; by default nothing.

        It is called once for the cells that share a teacher, so that they find its results cached, and for each cell.
        """

    @abstractmethod
    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        """Combine the round's updates."""

    def purify(self, model: nn.Module, context: RoundContext) -> None:  # noqa: B027
        """Train or edit the aggregated global model in place; by default nothing."""

    def state(self) -> dict[str, Tensor]:
        """What the rounds so far have left behind, between two rounds: named tensors of any dtype; by default nothing.

        Neither config nor what :meth:`prepare` makes is in it. A number is a tensor without dimensions.
        """
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Take over a ``state``, on the server's device; the instance owns the tensors from then on.

        All later rounds must give, to the bit, what they would have given had the old instance lived on.
        """
