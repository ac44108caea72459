"""The small CNN's convolutions by compiled kernels (:mod:`.trunk`) in the place of torch's operators, on a CPU.

The same function to rounding; its own last bits, alike on all processors, and whenever they are repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from clipfed_bench.core.errors import UserError


@cache
def _kernels() -> ModuleType:
    """The kernels, compiled; in a process for the first time it takes a second, and on a machine a minute at most."""
    try:
        from clipfed_bench.models import trunk
    except ImportError as error:
        raise UserError(
            f"--kernels: numba cannot be imported here ({error}). Install clipfed-bench[fast], or use --kernels torch."
        ) from error
    return trunk


def fits(images: Tensor, weight: Tensor) -> bool:
    """Whether there is a kernel for it: float32 on a CPU, and nobody asks for the gradient of ``images``."""
    exact = images.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return exact and images.device.type == "cpu" and images.shape[1:] == (3, 32, 32) and not images.requires_grad


def features(images: Tensor, convolutions: nn.Sequential) -> Tensor:
    """(N, 3, 32, 32) float32 -> (N, 64, 4, 4), what ``convolutions`` gives, with its gradients for a backward pass."""
    parameters = tuple(convolutions.parameters())
    if torch.is_grad_enabled():
        return _Features.apply(images, *parameters)  # type: ignore[no-any-return]
    return _forward(_in_order(images), [_in_order(p) for p in parameters], keep=False)[0]


def _in_order(tensor: Tensor) -> Tensor:
    """``tensor``, or a copy of it whose values lie one after the other, channels last."""
    order = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return tensor.contiguous(memory_format=order)  # itself where it is


def _addresses(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    return tuple(tensor.data_ptr() for tensor in tensors)


def _forward(images: Tensor, parameters: Sequence[Tensor], keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Features, and what the backward pass needs."""
    trunk, count = _kernels(), len(images)
    room = count if keep else 1
    pooled, moments = torch.empty(room, trunk.POOLED), torch.empty(room, trunk.MOMENTS)
    kept = pooled, torch.empty(room, trunk.POOLED, dtype=torch.uint8), moments
    result = torch.empty(count, 4, 4, 64)
    trunk.forward(images.data_ptr(), count, _addresses(parameters), *_addresses(kept), result.data_ptr(), keep)
    return result.permute(0, 3, 1, 2), kept


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, *parameters: Tensor) -> Tensor:
        images, parameters = _in_order(images), tuple(_in_order(p) for p in parameters)
        result, kept = _forward(images, parameters, keep=True)
        ctx.save_for_backward(images, *parameters, *kept)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, *others = ctx.saved_tensors
        parameters, kept, gradient = others[:9], others[9:], _in_order(gradient)
        sums = [torch.zeros_like(p) for p in parameters]
        given = images.data_ptr(), len(images), _addresses(parameters), *_addresses(kept), gradient.data_ptr()
        _kernels().backward(*given, _addresses(sums))
        return None, *sums
