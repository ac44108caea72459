"""Noise masks on the output layer, which hide a backdoor from a look at one update, and cancel out over a group.

Li et al., "3DFed", IEEE S&P 2023, as its authors' code has it. A mask n_i covers weights and bias of some neurons R of
the output layer; it starts as noise whose sum over the group is zero. With the backdoored update Δ of these neurons,
U_ij = sum of |Δ_j + n_ij| (the energy that DeepSight looks at) and the weight λ, 1 at first, each step descends on

    L_i = [ a · 0.1 sum over j in R of 1 / U_ij + (1 - a) · 0.01 ‖n_i‖ + λ · 0.01 ‖sum over i of n_i‖ ] / (1 + λ)

by SGD, and λ grows by 0.1 ‖sum over i of n_i‖ (dual ascent).

Deviations: each mask steps along the gradient of its own L_i, all at once; in the code the shared term reaches a mask
as often as masks came before it. The mask of a group of one starts as noise, too, with nobody to cancel it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clipfed_bench.toolbox.device import to_device

STD, STEPS, LR, MOMENTUM, DECAY = 0.01, 30, 0.1, 0.9, 5e-4
"""Of the noise and of the SGD [paper: its code, for CIFAR-10]."""
ENERGY, NORM, ASCENT = 0.1, 0.01, 0.1
"""Weights of the terms, and by how much λ grows [paper: its code]."""
ZERO = 1e-6
"""What is smaller is rounding [ours]."""


def noise_masks(update: Tensor, group: int, share: float, stream: torch.Generator) -> Tensor:
    """Masks (group, R, D) float32 for ``update`` (R, D) of R neurons, D weights and bias each; ``share`` is a."""
    noise = STD * torch.randn(group, *update.shape, generator=stream)
    masks = to_device(noise - noise.mean(dim=0) if group > 1 else noise, update.device)
    speeds, multiplier = torch.zeros_like(masks), torch.ones((), device=masks.device)
    for _ in range(STEPS):
        speeds = MOMENTUM * speeds + _slopes(masks, update, share, multiplier) + DECAY * masks
        masks = masks - LR * speeds
        multiplier = multiplier + ASCENT * torch.linalg.vector_norm(masks.sum(dim=0))
    return masks


def mask_unit(energy: Tensor, update: Tensor) -> Tensor:
    """The unit in which masked neurons of ``update`` (R, D) head for ``energy``, that of another neuron, at a = 1/2.

    There the slopes of the first two terms are equal where U² = 10 √(R D); in thirty steps about half of U is reached.
    """
    natural = math.sqrt(ENERGY / NORM * math.sqrt(update.numel()))
    return (energy / natural).clamp(min=torch.finfo(energy.dtype).tiny)


def _slopes(masks: Tensor, update: Tensor, share: float, multiplier: Tensor) -> Tensor:
    """The gradient of each L_i by n_i."""
    moved = update + masks
    energy = moved.abs().sum(dim=2, keepdim=True).clamp(min=ZERO)
    more = -ENERGY * moved.sign() / energy.square()
    smaller, together = NORM * _unit(masks.flatten(1)).view_as(masks), NORM * _unit(masks.sum(dim=0).flatten()[None])
    apart = multiplier * together.view_as(update)
    slopes: Tensor = (share * more + (1 - share) * smaller + apart) / (1 + multiplier)
    return slopes


def _unit(rows: Tensor) -> Tensor:
    """Each of the ``rows`` with the norm 1; what is zero but for rounding has no direction, and becomes zero."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.where(norms > ZERO, rows / norms, 0.0)
