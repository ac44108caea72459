"""Products with a Hessian that L-BFGS approximates from the steps of an optimization.

Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices and their use in limited memory methods",
Mathematical Programming 1994: with S and Y the last steps and the differences of gradients that belong to them, D the
diagonal and L the strictly lower triangle of SᵀY, and σ = sᵀy / sᵀs of the last pair,
B v = σ v - [σS Y] [[σSᵀS, L], [Lᵀ, -D]]⁻¹ [σSᵀv; Yᵀv].

Of gradients of either sign: B of -Y is -B.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.sums import blocks


def hessian_products(steps: Tensor, vectors: Tensor) -> Tensor:
    """B v of each of ``vectors`` (V, P): (V, P) float32, for steps that are the gradients themselves.

    ``steps`` (N + 1, P), N >= 1, in the order in which they were made: each is the gradient at the point that it leads
    away from, so that the N pairs are a step and the next step minus it. Where the middle matrix has no inverse, as of
    steps that are equal or zero, its pseudo-inverse is taken. A GPU is waited for once.
    """
    pairs = len(steps) - 1
    products = to_host(inner_products(steps, torch.cat([steps, vectors])))
    gram, along = products[:, : pairs + 1], products[:, pairs + 1 :]
    steps_steps, steps_turns = gram[:pairs, :pairs], gram[:pairs, 1:] - gram[:pairs, :pairs]
    last = steps_steps[-1, -1]
    sigma = steps_turns[-1, -1] / last if last > 0 else torch.zeros((), dtype=torch.float64)
    lower = steps_turns.tril(-1)
    middle = torch.cat(
        [torch.cat([sigma * steps_steps, lower], dim=1), torch.cat([lower.T, -steps_turns.diagonal().diag()], dim=1)]
    )
    right = torch.cat([sigma * along[:pairs], along[1:] - along[:pairs]])  # (2N, V)
    scale = middle.diagonal().abs().sqrt()[:, None]
    scale = torch.where(scale > 0, scale, 1.0)  # long steps must not hide short ones from the pseudo-inverse
    weights = torch.linalg.pinv(middle / scale / scale.T, hermitian=True) @ (right / scale) / scale
    shares = torch.zeros(pairs + 1, vectors.shape[0], dtype=torch.float64)  # of the steps in [σS Y] weights
    shares[:pairs] += sigma * weights[:pairs] - weights[pairs:]
    shares[1:] += weights[pairs:]
    shares = to_device(shares.T.float(), steps.device)
    return to_device(sigma.float(), steps.device) * vectors - shares @ steps


def inner_products(left: Tensor, right: Tensor) -> Tensor:
    """Inner products of the rows of (M, P) and (N, P) matrices: (M, N) float64."""
    total = torch.zeros(len(left), len(right), dtype=torch.float64, device=left.device)
    start = 0
    for part in blocks(left):
        other = right[:, start : start + part.shape[1]]
        total += part.double() @ other.double().T
        start += part.shape[1]
    return total
