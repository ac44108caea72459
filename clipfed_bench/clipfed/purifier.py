"""Where the server trains: a model in fixed memory that cells of one process, if they are alike, take turns on.

On a GPU a step is recorded on fixed tensors. A cell's own model lives as long as the cell; here steps are recorded once
in a process and replayed for every round and cell.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from clipfed_bench.clipfed.rectify_transfer import rectification, transfer
from clipfed_bench.clipfed.server_set import ServerSet
from clipfed_bench.clipfed.steps import Schedule, Training
from clipfed_bench.models.flat import own_copy
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.compute import Compute

_V = TypeVar("_V")


class _Recent(Generic[_V]):
    """Keeps the ``size`` values that were asked for last; the oldest goes before another one takes memory."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[Hashable, _V] = {}

    def __call__(self, key: Hashable, make: Callable[[], _V]) -> _V:
        if key in self._values:
            self._values[key] = self._values.pop(key)
        else:
            while len(self._values) >= self._size:
                del self._values[next(iter(self._values))]
            self._values[key] = make()
        return self._values[key]


class Purifier:
    """Trains models of one architecture on one server set. It keeps nothing from one round to the next."""

    def __init__(self, model: Classifier, data: ServerSet, compute: Compute) -> None:
        """``model`` gives the architecture, and is left alone."""
        self._model, self._data = own_copy(model).model, data
        width, teacher_width = model.classifier.in_features, data.text_prototypes.shape[1]
        self._projection: nn.Module = nn.Identity()
        if width != teacher_width:
            # Its weight is the cell's: drawing one here would only disturb the global random stream.
            layer = skip_init(nn.Linear, width, teacher_width, bias=False, device=data.images.device)  # type: ignore[no-untyped-call]
            self._projection = layer
        # Phases come one after the other, so that what they record may share memory.
        self._compute = replace(compute, record=compute.recorder())
        self._phases: _Recent[Training] = _Recent(4)

    def rectification(self, temperature: float, schedule: Schedule) -> Training:
        """Step (d) with these settings."""
        make = partial(rectification, self._model, self._projection, self._data, temperature, schedule, self._compute)
        return self._phases((rectification, temperature, schedule), make)

    def transfer(self, beta: float, temperature: float, schedule: Schedule) -> Training:
        """Step (e) with these settings."""
        make = partial(transfer, self._model, self._data, beta, temperature, schedule, self._compute)
        return self._phases((transfer, beta, temperature, schedule), make)

    def __call__(
        self, model: Classifier, projection: Tensor | None, phases: Iterable[tuple[Training, torch.Generator]]
    ) -> None:
        """A round: train ``model`` and the weight ``projection`` (E, D), if there is one, in place.

        ``phases`` are steps of this purifier, each with the stream that shuffles the images.
        """
        given, own = _values(model), _values(self._model)
        if projection is not None:
            given, own = [*given, projection], [*own, *self._projection.parameters()]
        _copy(given, own)
        for phase, stream in phases:
            phase(stream)
        _copy(own, given)


_purifiers: _Recent[Purifier] = _Recent(2)


def find_purifier(model: Classifier, data: ServerSet, compute: Compute) -> Purifier:
    """The purifier of all cells of this process that are alike in architecture, server set and ``compute``."""
    architecture = type(model), tuple((name, value.shape) for name, value in model.state_dict().items())
    # The purifier keeps its server set alive, so that no other one has its id.
    return _purifiers((architecture, id(data), compute), partial(Purifier, model, data, compute))


def _values(model: Classifier) -> list[Tensor]:
    """Parameters and running statistics."""
    return [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]


@torch.no_grad()
def _copy(given: list[Tensor], to: list[Tensor]) -> None:
    for old, new in zip(to, given, strict=True):
        old.copy_(new)
