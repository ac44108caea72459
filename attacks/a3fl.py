"""A3FL: a square whose pixels are fitted, in each round, to the global model and to one that has unlearned them.

Zhang et al., "A3FL: Adversarially Adaptive Backdoor Attacks to Federated Learning", NeurIPS 2023. With the global model
f, the trigger t put into images x, their labels y and the target y', an attacker repeats, before it trains,

    f' = argmin L(f'(x + t), y), from f: the model that unlearns the trigger best,
    t <- t - alpha sign grad_t [ L(f(x + t), y') + lambda L(f'(x + t), y') ],   lambda = lambda_0 cos(f', f).

The first attacker of a round fits it on its own images, from the trigger of the round before, and all train with it.

Deviations: far fewer epochs by default than the authors' code has, 200, each with 5 of unlearning: an attacker of it
trains six hundred times as long as an honest client. Pixels stay in [0, 1], where the code bounds normalized ones at
-2 and 2. The cosine is of the models' parameters; the code takes gradients of convolutions. Poisoning is the cell's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipfed_bench.api import AdaptContext, Attack, AttackContext
from clipfed_bench.attack_kit.shuffled import batches
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.rng import generator
from clipfed_bench.toolbox.triggers import check_square

MOMENTUM, DECAY = 0.9, 5e-4
"""Of the SGD that unlearns [paper: its code]."""


@dataclass(frozen=True)
class Config:
    size: int = 5
    """Side of the square, pixels >= 1 [paper: its code]."""
    row: int = 2
    """Top row of the square, counted from 0 [paper: its code]."""
    col: int = 2
    """Left column of the square, counted from 0 [paper: its code]."""
    epochs: int = 10
    """Epochs in which the trigger is fitted in a round, 1 or more [ours: 200 in the authors' code]."""
    step: float = 0.01
    """alpha, by which a step changes each pixel value, > 0 [paper: its code]."""
    unlearn_every: int = 3
    """Epochs of the trigger after which f' is trained anew, from the second on, >= 1 [ours: 1 in the authors' code]."""
    unlearn_epochs: int = 2
    """Epochs in which f' unlearns the trigger, 0 or more; 0: no f' [ours: 5 in the authors' code]."""
    unlearn_lr: float = 0.01
    """Learning rate of that [paper: its code]."""
    balance: float = 0.01
    """lambda_0, weight of f' [paper: its code]."""


class A3FL(Attack):
    config: Config
    adaptive = True

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        check_square("a3fl", config.size, config.row, config.col, 0.5, context.image_shape)
        for name, least in (("epochs", 1), ("unlearn_every", 1), ("unlearn_epochs", 0)):
            if getattr(config, name) < least:
                raise UserError(f"a3fl: {name} {getattr(config, name)} is too few; it is {least} or more.")
        if not config.step > 0:
            raise UserError(f"a3fl: step {config.step} changes no pixel; it is above 0.")
        self._square = torch.full((context.image_shape[0], config.size, config.size), 0.5)

    def trigger(self, images: Tensor) -> Tensor:
        return self._put(images, self._square.to(images.device))

    def adapt(self, context: AdaptContext) -> None:
        c, (images, labels) = self.config, context.images(context.clients[0])
        model, square, other = context.model().requires_grad_(False), self._square.to(images.device), None
        stream = generator(context.seed, "a3fl", context.round)
        for epoch in range(c.epochs):
            if epoch > 0 and epoch % c.unlearn_every == 0 and c.unlearn_epochs > 0:
                other = self._unlearned(context, square, stream)
            for batch, _ in batches(context, images, labels, stream):
                square = self._stepped(square, model, other, batch)
        self._square = square

    def state(self) -> dict[str, Tensor]:
        return {"square": self._square}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._square = state["square"]

    def _put(self, images: Tensor, square: Tensor) -> Tensor:
        c, out = self.config, images.clone()
        out[..., c.row : c.row + c.size, c.col : c.col + c.size] = square
        return out

    def _stepped(
        self, square: Tensor, model: nn.Module, other: tuple[nn.Module, Tensor] | None, images: Tensor
    ) -> Tensor:
        """``square`` after a step against ``model`` and, if there is one, f' with its cosine."""
        free = square.clone().requires_grad_()
        triggered, target = self._put(images, free), _target(images, self.context.target)
        loss = F.cross_entropy(model(triggered), target)
        if other is not None:
            loss = loss + self.config.balance * other[1] * F.cross_entropy(other[0](triggered), target)
        [slope] = torch.autograd.grad(loss, free)
        return (square - self.config.step * slope.sign()).clamp(0, 1)

    def _unlearned(self, context: AdaptContext, square: Tensor, stream: torch.Generator) -> tuple[nn.Module, Tensor]:
        """f', which takes images with ``square`` for what they are, and its parameters' cosine to the global ones."""
        model, (images, labels) = context.model().train(), context.images(context.clients[0])
        params = list(model.parameters())
        start, momenta = _flat(params), [torch.zeros_like(p) for p in params]
        for _ in range(self.config.unlearn_epochs):
            for batch, truth in batches(context, images, labels, stream):
                slopes = torch.autograd.grad(F.cross_entropy(model(self._put(batch, square)), truth), params)
                with torch.no_grad():
                    for p, slope, momentum in zip(params, slopes, momenta, strict=True):
                        momentum.mul_(MOMENTUM).add_(slope).add_(p, alpha=DECAY)
                        p.add_(momentum, alpha=-self.config.unlearn_lr)
        model.requires_grad_(False).eval()
        return model, F.cosine_similarity(_flat(params), start, dim=0)


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    """All values in one vector, of no gradient."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _target(images: Tensor, target: int) -> Tensor:
    return torch.full((len(images),), target, device=images.device)
