"""Layer substitution analysis: which layers of a poisoned model carry its backdoor.

Zhuang et al., "Backdoor Federated Learning by Poisoning Backdoor-Critical Layers", ICLR 2024: forward substitution
ranks layers by what success the poisoned model loses when one of them is the honest model's; backward substitution
adds poisoned layers to the honest model in that order until it is nearly as successful. As in the authors' code
(functions FLS and BLS) ties keep the model's order, running statistics are those of the model that layers are put
into, and a poisoned model without any success has no critical layers. Deviations: a layer is a module, its weight and
bias together, where the authors' code ranks each parameter tensor for itself; and both models start from the global
model and see the same batches (the code's "adaptive local" mode), where the paper poisons the honest model further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from clipfed_bench.api import Attack, CraftContext, LocalModel
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import Figure, read, to_device, to_host

Success = Callable[[Tensor, Tensor], Figure]
"""Parameters (P,) and running statistics (Q,) -> success of the backdoor, 0 to 1."""


def modules(layers: Mapping[str, slice]) -> dict[str, list[slice]]:
    """Module name -> slices of its parameters, from parameter name -> slice; in the model's order."""
    found: dict[str, list[slice]] = {}
    for name, place in layers.items():
        found.setdefault(name.rpartition(".")[0], []).append(place)
    return found


def substitute(base: Tensor, donor: Tensor, places: Iterable[slice]) -> Tensor:
    """A copy of ``base`` (P,) that is ``donor`` (P,) at ``places``."""
    mixed = base.clone()
    for place in places:
        mixed[place] = donor[place]
    return mixed


def critical_layers(
    honest: LocalModel,
    poisoned: LocalModel,
    start: Tensor,
    layers: Mapping[str, slice],
    success: Success,
    threshold: float,
) -> list[str]:
    """Names of the critical modules, the most critical first.

    ``start`` (P,) is the global model. Backward substitution ends at ``threshold`` times the poisoned model's success.
    """
    good, bad, parts = start + honest.delta, start + poisoned.delta, modules(layers)
    own = (success(substitute(bad, good, places), poisoned.buffers) for places in parts.values())
    whole, *left = read([success(bad, poisoned.buffers), *own])
    drops = {name: whole - value for name, value in zip(parts, left, strict=True)}
    chosen: list[str] = []
    reached, mixed = 0.0, good
    for name in sorted(drops, key=lambda name: -drops[name]):
        if reached >= threshold * whole:
            break
        chosen.append(name)
        mixed = substitute(mixed, bad, parts[name])
        [reached] = read([success(mixed, honest.buffers)])
    return chosen


def find_critical(
    attack: Attack, client: int, poisoned: LocalModel, context: CraftContext, threshold: float
) -> list[str]:
    """:func:`critical_layers` of one malicious client, judged on the images that it held out.

    Success is measured as ASR is: on images of other classes than the target, with the test-time trigger. Without any
    such image, or with a model that has diverged, no layer is critical.
    """
    images, labels = context.validation(client)
    facts = to_host(torch.cat([labels != attack.context.target, torch.isfinite(poisoned.delta).all()[None]]))
    rows, sound = facts[:-1].nonzero().flatten(), bool(facts[-1])
    if len(rows) == 0 or not sound:
        return []
    triggered = attack.trigger(images[to_device(rows, images.device)])

    def success(params: Tensor, buffers: Tensor) -> Tensor:
        hits = context.logits(params, buffers, triggered).argmax(dim=1) == attack.context.target
        return hits.double().mean()

    honest = context.honest(client)
    return critical_layers(honest, poisoned, context.global_params, context.layers, success, threshold)


def places(layers: Mapping[str, slice], chosen: Iterable[str]) -> list[slice]:
    """The slices of all parameters of the modules ``chosen``."""
    parts = modules(layers)
    return [place for name in chosen for place in parts[name]]


def check_analysis(attack: str, validation: float, threshold: float) -> None:
    """Raise UserError unless 0 < ``validation`` < 1 and 0 < ``threshold`` <= 1."""
    if not 0.0 < validation < 1.0:
        raise UserError(f"{attack}: validation {validation} is not a share of a client's images between 0 and 1.")
    if not 0.0 < threshold <= 1.0:
        raise UserError(f"{attack}: threshold {threshold} is out of range; it is above 0 and at most 1.")
