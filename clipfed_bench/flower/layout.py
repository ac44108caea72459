"""A model's arrays by name, as PyTorch has them, and the flat vectors that defenses read."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from clipfed_bench.core.errors import UserError

STATISTICS = ("running_mean", "running_var")
"""What names of BatchNorm's running statistics end with."""


class Layout:
    """Where each array of a state dictionary is in ``params`` (P,) and ``buffers`` (Q,), float32, in its order.

    Running statistics are ``buffers``, all other floating-point arrays ``params``. Whole numbers, as of
    ``num_batches_tracked``, are in neither. 4-D weights are laid out (O, H, W, I) in the vector, as in the simulator.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """Raises UserError where there is no parameter."""
        floating = {name: tuple(value.shape) for name, value in state.items() if value.is_floating_point()}
        self._params = {name: shape for name, shape in floating.items() if not name.endswith(STATISTICS)}
        self._buffers = {name: shape for name, shape in floating.items() if name.endswith(STATISTICS)}
        if not self._params:
            raise UserError(f"a model of the arrays {', '.join(state) or 'none'} has no parameters.")
        linear = [name.removesuffix("weight") for name, shape in self._params.items() if len(shape) == 2]
        called = {f"{last}{part}": f"classifier.{part}" for last in linear[-1:] for part in ("weight", "bias")}
        names = {name: called.get(name, name) for name in self._params}
        self.layers: Mapping[str, slice] = {names[name]: place for name, place in _places(self._params).items()}
        """Name -> slice of the parameters. The last linear layer is called ``classifier``."""
        self.shapes: Mapping[str, tuple[int, ...]] = {names[name]: _inner(s) for name, s in self._params.items()}
        """Name -> shape in the vector."""

    def flat(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """``params`` and ``buffers`` of a model. Raises UserError where an array is missing or has another shape."""
        for name, shape in (self._params | self._buffers).items():
            if name not in state or tuple(state[name].shape) != shape:
                found = tuple(state[name].shape) if name in state else "absent"
                raise UserError(f"the array {name} of a client is {found}; it has to be of the shape {shape}.")
        params = [_last(state[name], (0, 2, 3, 1)).reshape(-1).float() for name in self._params]
        buffers = [state[name].reshape(-1).float() for name in self._buffers]
        return torch.cat(params), torch.cat(buffers) if buffers else params[0].new_empty(0)

    def state(self, params: Tensor, buffers: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The model of these vectors, in the order and the dtypes of ``like``, whose other arrays it has."""
        found = dict(like)
        for name, place in _places(self._params).items():
            value = _last(params[place].view(_inner(self._params[name])), (0, 3, 1, 2))
            found[name] = value.to(like[name].dtype).contiguous()
        for name, place in _places(self._buffers).items():
            found[name] = buffers[place].view(self._buffers[name]).to(like[name].dtype)
        return found


def _inner(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array in the vector."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def _last(value: Tensor, order: tuple[int, int, int, int]) -> Tensor:
    return value.permute(order) if value.dim() == 4 else value


def _places(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, slice]:
    places, start = {}, 0
    for name, shape in shapes.items():
        places[name] = slice(start, start := start + prod(shape))
    return places
