"""The words of the field: what an attack, a defense, an update and an aggregate are.

An attack or a defense is one module with a docstring (summary line, citation, equations, deviations), one frozen
``Config`` dataclass whose fields are documented by a string below each, and one subclass of :class:`Attack` or
:class:`Defense`. Its registered name is the file's name with ``_`` written ``-``. Nothing else is edited. A data set is
one module of another package, with a docstring and one subclass of :class:`DataSource`.

Shapes used throughout: K clients in a round, P parameters, Q entries of BatchNorm running statistics, B images of a
batch, C channels, H × W pixels. Images are float32 in [0, 1] before normalization.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from clipfed_bench.core.splits import Split
from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.device import Figure, to_device, to_host
from clipfed_bench.toolbox.images import Images, ServerData
from clipfed_bench.toolbox.rng import generator
from clipfed_bench.toolbox.sums import weighted_sum


@dataclass(frozen=True)
class AttackContext:
    """What the attackers know: the task, and nothing of the server or of benign clients."""

    target: int
    """Class that triggered images are to be classified as (all-to-one)."""
    num_classes: int
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    poison_ratio: float = 1.0
    """Share of malicious batches that is poisoned; 1.0 appends a poisoned copy of each batch [lineage]."""
    seed: int = 0


@dataclass(frozen=True)
class LocalContext:
    """A round as the malicious clients see it before they train."""

    round: int
    global_params: Tensor
    """(P,) float32, the global model that the round starts from."""
    previous_update: Tensor | None
    """(P,) float32, by how much the global model moved in the round before; None in the first round of a cell."""


GradientRule = Callable[[Tensor, Tensor], Tensor]
"""(gradient (P,), parameters (P,)) -> the gradient (P,) to step along; it leaves its arguments alone."""


@dataclass(frozen=True)
class LocalModel:
    """What one client has after local training."""

    delta: Tensor
    """(P,) float32: trained minus global parameters."""
    buffers: Tensor
    """(Q,) float32: BatchNorm running statistics (values, not differences)."""


@dataclass(frozen=True)
class CraftContext:
    """The round as the malicious clients see it when they craft what they upload.

    The callables are computed when they are called, and cost nothing to attacks that do not.
    """

    round: int
    clients: tuple[int, ...]
    """Ids of the malicious clients, one for each row handed to :meth:`Attack.craft`."""
    global_params: Tensor
    """(P,) float32, the global model that the round started from."""
    layers: Mapping[str, slice]
    """Parameter name -> its slice of the flat vector."""
    buffers: Tensor
    """(M, Q) float32: the running statistics that belong to the rows handed to :meth:`Attack.craft`."""
    participants: int
    """How many clients the server averages this round, malicious ones among them."""
    colluders: tuple[int, ...]
    """Ids of all malicious clients, sampled or not, in the order in which they are numbered."""
    honest: Callable[[int], LocalModel]
    """Malicious client id -> what it would upload if it were honest, trained on the same images in the same batches."""
    validation: Callable[[int], tuple[Tensor, Tensor]]
    """Client id -> images (V, C, H, W) in [0, 1], labels (V,) that it kept from training (:attr:`Attack.held_out`)."""
    logits: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Parameters (P,), running statistics (Q,), images (V, C, H, W) in [0, 1] -> the model's logits (V, classes)."""
    seed: int = 0


class Attack(ABC):
    """A backdoor attack. All methods are pure: they return new tensors and leave their arguments alone."""

    held_out: float = 0.0
    """Share of its images, rounded down, but not to none, that each malicious client keeps from training while the
    attack is on, to measure success on. It reports all of them."""

    def __init__(self, config: Any, context: AttackContext) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    def trigger(self, images: Tensor) -> Tensor:
        """Triggered copies of ``images`` (B, C, H, W) in [0, 1], as used at test time; same shape, dtype, range."""

    def client_trigger(self, images: Tensor, attacker: int) -> Tensor:
        """The trigger that malicious client number ``attacker`` (0, 1, ...) trains with; by default the whole one."""
        return self.trigger(images)

    def poison(self, images: Tensor, labels: Tensor, attacker: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The batch a malicious client trains on (PAPER: all-to-one label flip [paper]).

        Arguments as in :meth:`trigger`; ``labels`` (B,) int64. At ``poison_ratio`` 1.0 a poisoned copy of the batch is
        appended [lineage]; below, the first ``count`` images are poisoned in place; None: ``int(ratio * B)`` [lineage].
        """
        ratio, flipped = self.context.poison_ratio, torch.full_like(labels, self.context.target)
        if ratio >= 1.0:
            return torch.cat([images, self.client_trigger(images, attacker)]), torch.cat([labels, flipped])
        count = int(ratio * len(images)) if count is None else count
        poisoned = self.client_trigger(images[:count], attacker)
        return torch.cat([poisoned, images[count:]]), torch.cat([flipped[:count], labels[count:]])

    def gradient_rule(self, context: LocalContext) -> GradientRule | None:
        """What malicious clients do to the gradient in each step of this round's poisoned training; None: nothing.

        Weight decay is the optimizer's: it is added afterwards.
        """
        return None

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        """What the malicious clients upload, (M, P) float32, given their trained ``updates`` (M, P)."""
        return updates

    def craft_buffers(self, context: CraftContext) -> Tensor:
        """The running statistics that they upload with it, (M, Q) float32; by default those of poisoned training."""
        return context.buffers


class DataSource(ABC):
    """A data set of another package. What is stated as fields is read from the source, so it must be literals.

    Images are uint8 (N, 3, 32, 32), labels int64 (N,) from 0, both as numpy arrays. A training split with a long tail,
    ``NAME-lt``, is cut from it like from any other. Other images need another name: cells that are done stay so.
    """

    classes: ClassVar[tuple[str, ...]]
    """Names of the classes, by label. Teachers read them: write ``sweet_pepper`` for a sweet pepper."""
    train_per_class: ClassVar[int | tuple[int, ...]]
    """Training images of each class, or of each of the classes."""
    test_per_class: ClassVar[int | tuple[int, ...]]
    captions: ClassVar[tuple[str, ...]] = ()
    """Sentences with ``{}`` for the name of the class, for server images without captions; built-in ones if empty."""
    teacher: ClassVar[str] = "open_clip:ViT-L-14/openai"
    """The teacher used when none is named: CLIP knows photos; ``local`` is trained on the server data."""

    @abstractmethod
    def load(self, folder: Path) -> tuple[Split, Split]:
        """Training and test images: the same in every process, and of the numbers stated, or it is an error.

        ``folder`` is that of data sets (``--data-dir``); it need not exist. It is called once in each process that uses
        the data set, after one has done so alone: the place to download something.
        """

    def generated(self, folder: Path) -> Split:
        """Images that the server may own, called ``NAME-generated``, perhaps with captions.

        None of them may be among those of :meth:`load`. A data set without this method has no server data of its own.
        """
        raise NotImplementedError


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
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Normalization of the target data set, of pixels in [0, 1]."""
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
