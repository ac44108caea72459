"""Training that is held near the global model, as in constrain-and-scale (Bagdasaryan et al., AISTATS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from clipfed_bench.api import GradientRule


def constrained(start: Tensor, share: float) -> GradientRule:
    """A rule that descends on share · L + (1 - share) ‖X - G‖₂, with the global model G, ``start`` (P,)."""

    def rule(grad: Tensor, params: Tensor) -> Tensor:
        away = params - start
        # the gradient of the norm is the unit vector away from G; at G itself, where there is none, 0 is taken
        unit = away / torch.linalg.vector_norm(away).clamp(min=torch.finfo(away.dtype).tiny)
        return torch.lerp(unit, grad, share)

    return rule
