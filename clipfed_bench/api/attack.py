"""What an attack is, and what malicious clients see of a round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


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
class AdaptContext:
    """A round as the malicious clients see it when they fit their trigger to the global model, before they train."""

    round: int
    clients: tuple[int, ...]
    """Ids of the malicious clients of the round; there is at least one."""
    images: Callable[[int], tuple[Tensor, Tensor]]
    """Malicious client id -> the images (N, C, H, W) in [0, 1] that it trains on, unpoisoned, and labels (N,)."""
    model: Callable[[], nn.Module]
    """Makes a copy of the global model: images (B, C, H, W) in [0, 1] -> logits (B, classes), in evaluation mode.
    What is done with it touches no other model."""
    batch_size: int
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

Loss = Callable[[Any, Tensor, Tensor], Tensor]
"""(A client's model, normalized images (B, C, H, W), labels (B,)) -> the loss, a tensor without dimensions.

The model is a :class:`.Classifier`: ``classifier`` of its ``features`` are the logits."""

ParameterRule = Callable[[Tensor], Tensor]
"""Parameters (P,) after a step -> the parameters (P,) to go on from; it leaves its argument alone."""


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
    trained: Callable[[int, Loss], LocalModel]
    """The same of a client that minimizes another loss than the cross-entropy on them."""
    others: Callable[[], Tensor]
    """(K - M, P) float32: what the other clients of the round upload. For attackers alone whose paper grants it."""
    images: Callable[[int], tuple[Tensor, Tensor]]
    """As in :class:`AdaptContext`."""
    model: Callable[[], nn.Module]
    """As in :class:`AdaptContext`."""
    validation: Callable[[int], tuple[Tensor, Tensor]]
    """Client id -> images (V, C, H, W) in [0, 1], labels (V,) that it kept from training (:attr:`Attack.held_out`)."""
    logits: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Parameters (P,), running statistics (Q,), images (V, C, H, W) in [0, 1] -> the model's logits (V, classes)."""
    seed: int = 0


class Attack(ABC):
    """A backdoor attack. All methods return new tensors and leave their arguments alone. All are pure but three:
    :meth:`adapt`, :meth:`load_state`, and :meth:`craft`, which may remember what it has uploaded."""

    untargeted: ClassVar[bool] = False
    """Whether it harms the main task and has no trigger: ASR is not defined then, and MTA tells the damage."""

    adaptive: bool = False
    """Whether :meth:`adapt` changes the trigger: it is asked for, and ASR measured with the trigger as it is then."""
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

    def adapt(self, context: AdaptContext) -> None:  # noqa: B027
        """Fit the trigger to a round's global model, if malicious clients are in it; they train with it afterwards.

        What it draws comes from streams of the round (:mod:`clipfed_bench.toolbox.rng`).
        """

    def state(self) -> dict[str, Tensor]:
        """What :meth:`adapt` has made, and :meth:`craft` remembers: named tensors of any dtype; by default nothing."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Take over a ``state``: later rounds must be, to the bit, what they would have been without a stop."""

    def local_loss(self, context: LocalContext) -> Loss | None:
        """What malicious clients minimize on their poisoned batches in this round; None: the cross-entropy."""
        return None

    def gradient_rule(self, context: LocalContext) -> GradientRule | None:
        """What malicious clients do to the gradient in each step of this round's poisoned training; None: nothing.

        Weight decay is the optimizer's: it is added afterwards.
        """
        return None

    def parameter_rule(self, context: LocalContext) -> ParameterRule | None:
        """What malicious clients do to their parameters after each step of this round's training; None: nothing.

        The optimizer's momentum stays as it is.
        """
        return None

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        """What the malicious clients upload, (M, P) float32, given their trained ``updates`` (M, P).

        It is asked once in each round that malicious clients are in.
        """
        return updates

    def craft_buffers(self, context: CraftContext) -> Tensor:
        """The running statistics that they upload with it, (M, Q) float32; by default those of poisoned training."""
        return context.buffers


class UntargetedAttack(Attack):
    """An attack on the main task. Unless :meth:`poison` says otherwise, malicious clients train as honest ones do."""

    untargeted = True

    def trigger(self, images: Tensor) -> Tensor:
        """There is none: the images as they are."""
        return images.clone()

    def poison(self, images: Tensor, labels: Tensor, attacker: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The batch as it is, at every poisoning ratio."""
        return images, labels
