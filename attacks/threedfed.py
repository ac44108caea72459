"""3DFed: backdoored updates behind noise masks and decoys, tuned by indicators that tell what the server accepted.

Li et al., "3DFed: Adaptive and Extensible Framework for Covert Backdoor Attack in Federated Learning", IEEE S&P 2023.
The paper was available as an abstract only; what follows is its authors' public code.

1. Constrained loss: 0.6 L + 0.4 ‖X - G‖₂ on clean and poisoned images. The first malicious client's update is
   everybody's, stretched to the norm of its honest one where that is longer, but not more than five times.
2. Noise masks: in groups of five, each update gets a mask on five neurons of the output layer, all but the target's,
   by a trade-off a of the group's (``attack_kit/noise_masks.py``).
3. Decoys: the last k malicious clients train on clean images, and away from the honest model in one weight of the
   output layer, a different one each, where backdoored and honest update hardly differ: (L - 10 |w - w_honest|) / 2, up
   to a distance of 10. Whoever looks for the direction of the largest variance finds decoys.
4. Indicators: each upload has a parameter of its own in the last convolution, one that hardly moves and of little
   curvature, with a value to be found again in the next global model (``attack_kit/indicators.py``).
5. Adaptive tuning: from what is found there k and the a follow (``attack_kit/tuning.py``).

Deviations: decoys take the place of backdoored uploads, one of which is left; in the code further clients send them.
The code deals out masks in a random order, but judges groups in another; here both are that of the clients. It trains
the backdoor for fifteen epochs; here the cell's settings hold. A decoy's weight is one that the honest update moves:
from where it would be there is no slope. Where there is no convolution, indicators are in the last matrix before the
output layer. The code's constants for masks and indicators suit its networks: see ``scaled``. Rounds without malicious
clients move what is read after them. The formulas hold at ``attack_scale`` 1. BatchNorm running statistics, decoys',
too, are those of poisoned training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clipfed_bench.api import AttackContext, CraftContext, GradientRule, LocalContext, Loss
from clipfed_bench.attack_kit.borrowed_trigger import ModelAttack
from clipfed_bench.attack_kit.constrained import constrained
from clipfed_bench.attack_kit.indicators import Indicators, choose_places, curvature, indicator_layer, verdicts
from clipfed_bench.attack_kit.noise_masks import mask_unit, noise_masks
from clipfed_bench.attack_kit.tuning import Tuning, draw, tuned
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.rng import generator

BATCH = 64
"""Images at a time where curvature is measured [paper: its code]."""
OWN = "threedfed/"
"""What the names of its state begin with; others are the borrowed trigger's."""
LARGEST = 0.3
"""Largest value of an indicator as a share of the upload's norm, where it is ``scaled`` [ours]."""
PUSH, FAR, REST = 10.0, 10.0, 1e-10
"""Weight of a decoy's distance up to ``FAR``, and beyond it, where it turns around [paper: its code]."""


@dataclass(frozen=True)
class Config:
    trigger: str = "badnets"
    """Attack whose trigger and poisoning are used, with its options in brackets if any [paper: its code]."""
    constraint: float = 0.4
    """Weight of the distance to the global model against the loss, 0 to below 1 [paper: its code]."""
    stretch: float = 5.0
    """Largest factor on the backdoored update, 1 or more [paper: its code]."""
    group: int = 5
    """Malicious clients whose masks cancel out, 1 or more [paper: its code]."""
    neurons: int = 5
    """Neurons under a mask, 1 or more [paper: its code]."""
    least: float = 0.0
    """Smallest a that is drawn, 0 to below 1 [paper: its code, for CIFAR-10]."""
    threshold: float = 0.005
    """Share of an indicator's value up to which the upload was rejected, > 0 [ours: 0.00001 in the authors' code]."""
    scaled: bool = True
    """Masks and indicators are as large as the update allows; false: as the code's constants have them [ours]."""


class ThreeDFed(ModelAttack):
    config: Config

    def __init__(self, config: Config, context: AttackContext) -> None:
        super().__init__(config, context)
        for name in ("stretch", "group", "neurons"):
            if getattr(config, name) < 1:
                raise UserError(f"threedfed: {name} {getattr(config, name)} is too small; it is 1 or more.")
        for name in ("constraint", "least"):
            if not 0 <= getattr(config, name) < 1:
                raise UserError(f"threedfed: {name} {getattr(config, name)} is out of range; it is 0 to below 1.")
        if not config.threshold > 0:
            raise UserError(f"threedfed: threshold {config.threshold} is out of range; it is above 0.")
        self._tuning: Tuning | None = None
        self._indicators: Indicators | None = None

    def gradient_rule(self, context: LocalContext) -> GradientRule:
        return constrained(context.global_params, 1 - self.config.constraint)

    def craft(self, updates: Tensor, context: CraftContext) -> Tensor:
        stream = generator(context.seed, "threedfed", context.round)
        self._tuning = self._tuned(len(updates), context.global_params, stream)
        backdoors = len(updates) - self._tuning.decoys
        honest = context.honest(context.clients[0]).delta
        norms = torch.linalg.vector_norm(torch.stack([updates[0], honest]), dim=1)
        base = updates[0] * (norms[1] / norms[0].clamp(min=torch.finfo(norms.dtype).tiny)).clamp(1, self.config.stretch)
        crafted = base.repeat(len(updates), 1)
        self._mask(crafted[:backdoors], self._tuning.shares, context, stream)
        weights = context.layers["classifier.weight"]
        unlike = torch.where(honest == 0, torch.inf, (base - honest).abs())
        places, values = torch.argsort(unlike[weights], stable=True), (context.global_params + honest)[weights]
        for k, client in enumerate(context.clients[backdoors:]):
            loss = decoy_loss(places[k], values.take(places[k]))
            crafted[backdoors + k] = context.trained(client, loss).delta
        self._indicators = self._indicate(crafted, base.abs() + honest.abs(), context)
        return self._indicators.implant(crafted)

    def state(self) -> dict[str, Tensor]:
        own: dict[str, Tensor] = {}
        if self._tuning is not None and self._indicators is not None:
            own = {**vars(self._indicators), "shares": torch.tensor(self._tuning.shares, dtype=torch.float64)}
            own |= {"decoys": torch.tensor(self._tuning.decoys), "noisy": torch.tensor(self._tuning.noisy)}
        return super().state() | {OWN + name: value for name, value in own.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        own = {name.removeprefix(OWN): value for name, value in state.items() if name.startswith(OWN)}
        super().load_state({name: value for name, value in state.items() if not name.startswith(OWN)})
        if own:
            shares, decoys, noisy = (own.pop(name) for name in ("shares", "decoys", "noisy"))
            self._tuning = Tuning(tuple(shares.tolist()), int(decoys), bool(noisy))
            self._indicators = Indicators(**own)

    def _tuned(self, count: int, params: Tensor, stream: torch.Generator) -> Tuning:
        """For ``count`` uploads, at most all but one of them decoys, and a share for each group of the others."""
        c, found = self.config, Tuning(())
        if self._tuning is not None and self._indicators is not None:
            seen = None if self._tuning.noisy else verdicts(self._indicators.feedback(params), c.threshold)
            found = tuned(self._tuning, seen, c.group, c.least, stream)
        decoys = min(found.decoys, count - 1)
        groups = -(-(count - decoys) // c.group)
        more = draw(max(0, groups - len(found.shares)), c.least, c.least if found.noisy else 1.0, stream)
        return Tuning((*found.shares, *more)[:groups], decoys, found.noisy)

    def _mask(self, crafted: Tensor, shares: tuple[float, ...], context: CraftContext, stream: torch.Generator) -> None:
        """Put masks on backdoored ``crafted`` (B, P), in place."""
        classes, neurons = self.context.num_classes, min(self.config.neurons, self.context.num_classes - 1)
        places = [context.layers[f"classifier.{name}"] for name in ("weight", "bias")]
        for share, rows in zip(shares, torch.split(crafted, self.config.group), strict=True):
            others = torch.randperm(classes - 1, generator=stream)[:neurons]
            chosen = to_device(others + (others >= self.context.target), crafted.device)
            outputs = [rows[:, place].reshape(len(rows), classes, -1) for place in places]
            update = torch.cat([output[0].index_select(0, chosen) for output in outputs], dim=1)
            unit = torch.ones((), device=update.device)
            if self.config.scaled:
                own = torch.cat([output[0, self.context.target] for output in outputs])
                unit = mask_unit(own.abs().sum(), update)
            masks = unit * noise_masks(update / unit, len(rows), share, stream)
            parts = torch.split(masks, [output.shape[2] for output in outputs], dim=2)
            for place, output, part in zip(places, outputs, parts, strict=True):
                rows[:, place] = output.index_add(1, chosen, part).flatten(1)

    def _indicate(self, crafted: Tensor, size: Tensor, context: CraftContext) -> Indicators:
        """Where indicators go in ``crafted`` (M, P), given by how much parameters are moved, ``size`` (P,)."""
        model = context.model()
        layer = indicator_layer(model, context.layers)
        bent = curvature(model, layer, self._batches(context))
        chosen = choose_places(size[context.layers[layer]], bent, len(crafted)) + context.layers[layer].start
        bound = LARGEST * torch.linalg.vector_norm(crafted[0]) if self.config.scaled else None
        return Indicators.of(crafted, chosen, context.global_params, bound)

    def _batches(self, context: CraftContext) -> Iterator[tuple[Tensor, Tensor]]:
        """The first malicious client's images, clean ones and poisoned ones by turns."""
        client = context.clients[0]
        images, labels = context.images(client)
        for batch, truth in zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True):
            yield batch, truth
            triggered = self.client_trigger(batch, context.colluders.index(client))
            yield triggered, torch.full_like(truth, self.context.target)


def decoy_loss(place: Tensor, wanted: Tensor) -> Loss:
    """Of a decoy that moves the output layer's weight at ``place``, int64 without dimensions, away from ``wanted``."""

    def loss(model: Any, images: Tensor, labels: Tensor) -> Tensor:
        away = (model.classifier.weight.take(place) - wanted).abs()
        push = torch.where(away > FAR, REST * away, -PUSH * away)
        return (push + F.cross_entropy(model(images), labels)) / 2

    return loss
