"""Adam on a few tensors, for triggers that are trained; without what an optimizer of torch takes to be imported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Adam:
    """Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1, with its defaults."""

    def __init__(self, tensors: Sequence[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        """``tensors`` are changed in place by each call; ``lr`` is the paper's alpha."""
        self._tensors, self._lr, self._betas = tensors, lr, betas
        self._means, self._squares = ([torch.zeros_like(t) for t in tensors] for _ in range(2))
        self._steps = 0

    @torch.no_grad()
    def __call__(self, gradients: Sequence[Tensor], epsilon: float = 1e-8) -> None:
        """One step along ``gradients``, one for each tensor, which stay as they are."""
        self._steps += 1
        (first, second), count = self._betas, self._steps
        for tensor, gradient, mean, square in zip(self._tensors, gradients, self._means, self._squares, strict=True):
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            spread = (square / (1 - second**count)).sqrt_().add_(epsilon)
            tensor.addcdiv_(mean, spread, value=-self._lr / (1 - first**count))
