"""Training on the server set: plain SGD with momentum, its gradients bounded.

The optimizer's state is fresh in every round: between rounds the model moves by what clients send, and old momentum
would point nowhere [ours].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.compute import Compute, RecordedStep
from clipfed_bench.toolbox.device import on_device


@dataclass(frozen=True)
class Schedule:
    """How the server trains."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    clip: float
    """Bound on the norm of a step's gradient; 0: none."""


class Training:
    """Trains some parameters of a model, round after round, on a loss of ``samples`` samples.

    ``loss`` makes of (B,) int64 indices of samples their mean loss; ``begin`` is called when a round begins.

    Model and parameters stay where they are in memory: on a GPU a step is recorded once for each size of batch.
    It keeps nothing from one round to the next.
    """

    def __init__(
        self,
        model: Classifier,
        trained: Sequence[nn.Parameter],
        loss: Callable[[Tensor], Tensor],
        samples: int,
        schedule: Schedule,
        compute: Compute,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._model, self._trained, self._loss, self._begin = model, trained, loss, begin
        self._samples, self._schedule, self._compute = samples, schedule, compute
        self._optimizer = torch.optim.SGD(trained, lr=schedule.lr, momentum=schedule.momentum)
        self._record = compute.recorder()
        self._recorded: dict[int, RecordedStep] = {}

    def __call__(self, stream: torch.Generator) -> None:
        """A round: all epochs; ``stream`` shuffles the samples."""
        self._begin()
        self._model.train()
        self._forget()
        device, size = self._trained[0].device, self._schedule.batch_size
        for _ in range(self._schedule.epochs):
            for index in on_device(torch.split(torch.randperm(self._samples, generator=stream), size), device):
                if self._compute.graphs:
                    self._replay(index)
                else:
                    self._step(index)
        self._model.zero_grad(set_to_none=False)
        if not self._compute.graphs:
            self._forget()  # between rounds the memory is others'

    def _forget(self) -> None:
        if not self._compute.graphs:
            self._optimizer.state.clear()
        elif self._schedule.momentum:
            for p in self._trained:  # momentum of zeros is as good as none, and stays where it is
                self._optimizer.state[p].setdefault("momentum_buffer", torch.empty_like(p)).zero_()

    def _step(self, index: Tensor) -> None:
        # Gradients are views of a flat vector: zero them in place, also those not trained here.
        self._model.zero_grad(set_to_none=False)
        self._optimizer.zero_grad(set_to_none=False)
        self._loss(index).backward()  # type: ignore[no-untyped-call]
        if self._schedule.clip:
            torch.nn.utils.clip_grad_norm_(self._trained, self._schedule.clip)
        self._optimizer.step()

    def _replay(self, index: Tensor) -> None:
        if len(index) not in self._recorded:
            momenta = [state["momentum_buffer"] for state in self._optimizer.state.values()]
            changed = [*self._model.parameters(), *self._model.buffers(), *self._trained, *momenta]
            self._recorded[len(index)] = RecordedStep(self._record, self._step, [index], changed)
        self._recorded[len(index)](index)
