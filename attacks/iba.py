"""IBA: a generator, trained in each round against the global model, draws an imperceptible trigger for each image.

Nguyen et al., "IBA: Towards Irreversible Backdoor Attacks in Federated Learning", NeurIPS 2023. With a generator T of
values in [-1, 1] and the target y', an image x is triggered as clip(x + epsilon T(x)), and before an attacker trains, T
is trained against the fixed model f by

    min_T  mean over x of  L(f(clip(x + epsilon T(x))), y').

The first attacker of a round trains it on its own images, from what it was the round before; all poison with it. At a
poisoning ratio of 1 the loss is half clean, half poisoned, the paper's alpha = 0.5. Its two ways to last, projection
and the choice of parameters that others hardly move, are ``pgd[trigger=iba]`` and ``neurotoxin[trigger=iba]``.

Deviations: T is trained against the global model before local training, and poisons in the same round; the authors'
code trains it after local training, poisons only once it fools 85 %, and then shrinks epsilon from round to round. T
has three convolutions, where the code has a U-Net or an autoencoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipfed_bench.api import AdaptContext, Attack, AttackContext
from clipfed_bench.attack_kit.adam import Adam
from clipfed_bench.attack_kit.shuffled import batches
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.rng import generator


@dataclass(frozen=True)
class Config:
    epsilon: float = 0.05
    """Largest change of a pixel value, above 0 to 1 [ours: of normalized pixels the code has 0.3, and 0.05 later]."""
    epochs: int = 10
    """Epochs in which T is trained in a round, 1 or more [paper: its code]."""
    lr: float = 0.003
    """Learning rate of T's Adam, > 0 [ours: 0.0001 in the authors' code, over a thousand rounds and more]."""
    width: int = 16
    """Channels between T's convolutions, 1 or more [ours]."""


class IBA(Attack):
    config: Config
    adaptive = True

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        if not 0 < config.epsilon <= 1:
            raise UserError(f"iba: epsilon {config.epsilon} is out of range; it is above 0 and at most 1.")
        for name, value in (("epochs", config.epochs), ("width", config.width)):
            if value < 1:
                raise UserError(f"iba: {name} {value} is too few; it is 1 or more.")
        if not config.lr > 0:
            raise UserError(f"iba: lr {config.lr} trains nothing; it is above 0.")
        self._weights = _initial(context.image_shape[0], config.width, context.seed)

    def trigger(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self._triggered(images, [weight.to(images.device) for weight in self._weights])

    def adapt(self, context: AdaptContext) -> None:
        images, labels = context.images(context.clients[0])
        model, target = context.model().requires_grad_(False), torch.full_like(labels, self.context.target)
        weights = [weight.to(images.device, copy=True).requires_grad_() for weight in self._weights]
        step, stream = Adam(weights, self.config.lr), generator(context.seed, "iba", context.round)
        for _ in range(self.config.epochs):
            for batch, wanted in batches(context, images, target, stream):
                loss = F.cross_entropy(model(self._triggered(batch, weights)), wanted)
                step(torch.autograd.grad(loss, weights))
        self._weights = [weight.detach() for weight in weights]

    def state(self) -> dict[str, Tensor]:
        return {f"weight{number}": weight for number, weight in enumerate(self._weights)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._weights = [state[f"weight{number}"] for number in range(len(self._weights))]

    def _triggered(self, images: Tensor, weights: Sequence[Tensor]) -> Tensor:
        return (images + self.config.epsilon * noise(images, weights)).clamp(0, 1)


def noise(images: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """T of ``images`` (B, C, H, W): the same shape, in [-1, 1]. ``weights``: kernel and bias of each convolution."""
    values = images - 0.5
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        values = F.conv2d(values, kernel, bias, padding=1)
        values = values.relu() if kernel is not weights[-2] else values.tanh()
    return values


def _initial(channels: int, width: int, seed: int) -> list[Tensor]:
    """Kernels of 3 × 3, normal with variance 2 over inputs (He et al., ICCV 2015), and biases of zero, on the CPU."""
    stream = generator(seed, "iba generator")
    weights = []
    for inputs, outputs in ((channels, width), (width, width), (width, channels)):
        kernel = torch.randn(outputs, inputs, 3, 3, generator=stream) * (2 / (9 * inputs)) ** 0.5
        weights += [kernel, torch.zeros(outputs)]
    return weights
