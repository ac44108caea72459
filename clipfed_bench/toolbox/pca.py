"""Principal components of a round's clients, from their distances alone: never from a (P, P) covariance."""

from __future__ import annotations

import torch
from torch import Tensor


def principal_scores(squared: Tensor, components: int) -> Tensor:
    """Scores on the first principal components, from squared Euclidean distances (K, K): (K, min(components, K)).

    Both float64 on the CPU. Signs are arbitrary.
    """
    # Double centering turns squared distances into the Gram matrix of the rows minus their mean.
    centered = squared - squared.mean(dim=0, keepdim=True) - squared.mean(dim=1, keepdim=True) + squared.mean()
    values, vectors = torch.linalg.eigh(-centered / 2)
    top = min(components, len(squared))
    scores: Tensor = vectors[:, -top:].flip(1) * values[-top:].flip(0).clamp(min=0).sqrt()
    return scores
