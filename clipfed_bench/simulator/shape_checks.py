"""What attacks and defenses hand back is of the shape it should be: torch would stretch many a wrong one to fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clipfed_bench.core.errors import UserError


def fitting(found: Tensor, shape: Sequence[int], what: str, dtype: torch.dtype | None = None) -> Tensor:
    """``found``, whose shape has to be ``shape``, and its dtype ``dtype`` if given. Raises UserError about ``what``."""
    if found.shape != torch.Size(shape):
        raise UserError(f"{what} has the shape {tuple(found.shape)}; it has to be {tuple(shape)}.")
    if dtype is not None and found.dtype != dtype:
        raise UserError(f"{what} has the dtype {_name(found.dtype)}; it has to be {_name(dtype)}.")
    return found


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
