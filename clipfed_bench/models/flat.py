"""A model whose parameters are views of one flat vector.

Clients train in place in rows of a (K, P) matrix: no copies of models, no stacking of updates. BatchNorm running
statistics live in a second flat vector, apart from everything that a distance or norm may read.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from clipfed_bench.toolbox.classifier import Classifier


class FlatModel:
    """Binds a model to flat vectors: ``params`` (P,) and ``grad`` (P,) float32, running statistics ``buffers`` (Q,).

    4-D weights are laid out in channels_last order inside the vector, the layout that convolutions are fast in.
    ``num_batches_tracked`` is no statistic (momentum is fixed) and is left alone.
    """

    def __init__(self, model: Classifier) -> None:
        self.model = model
        self._params = dict(model.named_parameters())
        self._buffers = {n: b for n, b in model.named_buffers() if b.is_floating_point()}
        self.layers = _slices(self._params)
        self.shapes = {name: _layout(p.shape) for name, p in self._params.items()}
        self._buffer_slices = _slices(self._buffers)
        device = next(iter(self._params.values())).device
        self.num_params = sum(p.numel() for p in self._params.values())
        self.num_buffers = sum(b.numel() for b in self._buffers.values())
        params = torch.empty(self.num_params, device=device)
        buffers = torch.empty(self.num_buffers, device=device)
        for name, place in self.layers.items():
            _view(params, place, self._params[name].shape).copy_(self._params[name].data)
        for name, place in self._buffer_slices.items():
            buffers[place].copy_(self._buffers[name].flatten())
        self.grad = torch.zeros_like(params)
        self.bind(params, buffers)
        for name, p in self._params.items():
            p.grad = _view(self.grad, self.layers[name], p.shape)

    def views(self, flat: Tensor) -> list[Tensor]:
        """The parts of ``flat`` (P,), in the order and shapes of the model's parameters."""
        return [_view(flat, self.layers[name], p.shape) for name, p in self._params.items()]

    def bind(self, params: Tensor, buffers: Tensor) -> None:
        """Make the model compute with, and write to, ``params`` (P,) and ``buffers`` (Q,), both contiguous."""
        self.params, self.buffers = params, buffers
        for name, p in self._params.items():
            p.data = _view(params, self.layers[name], p.shape)
        for name, place in self._buffer_slices.items():
            module, _, leaf = name.rpartition(".")
            shape = self._buffers[name].shape
            self.model.get_submodule(module)._buffers[leaf] = buffers[place].view(shape)


def own_copy(model: Classifier) -> FlatModel:
    """A copy of ``model`` in memory of its own, which steps can be recorded on."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None  # no statistic, and a launch for each layer
    return FlatModel(model)


def aligned(flat: Tensor) -> Tensor:
    """``flat``, or a copy of it that begins where a GPU's kernels can load 16 bytes at a time."""
    return flat.clone() if flat.is_cuda and flat.data_ptr() % 16 else flat


def _slices(tensors: dict[str, Tensor] | dict[str, nn.Parameter]) -> dict[str, slice]:
    """One after the other; those of a size that would leave the next one off a multiple of 16 bytes come last."""
    places, start = {}, 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].numel() % 4 != 0):
        places[name] = slice(start, start + tensor.numel())
        start += tensor.numel()
    return places


def _layout(shape: torch.Size) -> tuple[int, ...]:
    """The shape that a parameter of ``shape`` has in the flat vector."""
    if len(shape) != 4:
        return tuple(shape)
    outputs, inputs, height, width = shape
    return outputs, height, width, inputs


def _view(flat: Tensor, place: slice, shape: torch.Size) -> Tensor:
    part = flat[place]
    assert part.numel() == math.prod(shape)
    view = part.view(_layout(shape))
    return view.permute(0, 3, 1, 2) if len(shape) == 4 else view
