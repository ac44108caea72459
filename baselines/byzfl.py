"""ByzFL's rules as they are: f is 0 unless set, and GeometricMedian is the mean of small updates.

González et al., "ByzFL: Research Framework for Robust Federated Learning", 2025 (arXiv 2505.24802). ``byzfl:NAME`` is
the class NAME of ``byzfl.aggregators.aggregators``, with the parameters of its constructor as options, given the
clients' updates (K, P) as a float32 tensor. ``pre`` puts one of its ``preaggregators`` in front:
``byzfl:TrMean[f=2,pre=NNM[f=2]]``, and another in front of that: ``pre=NNM[f=2,pre=ARC[f=2]]``.

What differs from the rules of this project: f, the number of malicious clients, is 0 unless set, and 2 f clients or
fewer are refused. The geometric median starts at zero and takes no distance for less than ν, 0.1 unless set, so that it
is the plain mean of updates shorter than ν / 2. Krum and Multi-Krum count one neighbor more than the paper. CAF needs
f > 0, and updates that differ.

The updates are copied, as clipping works in place; what a rule takes besides is its own affair, and MDA and SMEA go
through all subsets of clients. What CAF, SMEA and Bucketing draw comes from a stream of the round.

Deviations: numbers of images are not looked at. BatchNorm running statistics are the plain mean, and in no distance.
Which clients a rule has selected it does not say: TPR and FPR are not measured. State: tensors that the rule keeps
(CenteredClipping's center); a preaggregator keeps none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines._libraries import make, refused, streams
from clipfed_bench.api import Aggregate, ClientUpdates, Defense, Library, Member, RoundContext, ServerContext
from clipfed_bench.components.choice import Choice
from clipfed_bench.components.families import member
from clipfed_bench.components.registry import Component
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.values import parse_choice
from clipfed_bench.toolbox.rng import stream_seed

LIBRARY = Library(
    module="byzfl.aggregators.aggregators",
    extra="byzfl",
    unfit={
        "ARC": "it clips updates for a rule, e.g. byzfl:TrMean[pre=ARC]",
        "Bucketing": "it mixes updates for a rule, e.g. byzfl:TrMean[pre=Bucketing]",
        "Clipping": "it clips updates for a rule, e.g. byzfl:TrMean[pre=Clipping]",
        "NNM": "it mixes updates for a rule, e.g. byzfl:TrMean[pre=NNM]",
    },
)
BEFORE = Library(module="byzfl.aggregators.preaggregators", extra="byzfl")


@dataclass(frozen=True)
class Config:
    member: Member
    pre: str = ""
    """What mixes or clips the updates first: ARC, Bucketing, Clipping or NNM of ByzFL, with its options, e.g.
    NNM[f=2]. None if empty [ours]."""


class ByzFL(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        self._name = f"byzfl:{config.member.name}"
        self._before = preaggregators(config.pre) if config.pre else []
        self._rule = make(LIBRARY, config.member)

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        vectors = updates.deltas.to(torch.float32, copy=True)
        seed = stream_seed(context.seed, "byzfl", context.round)
        with refused(f"{self._name} of {len(updates)} clients"), streams(seed, vectors.device):
            for mix in self._before:
                vectors = mix(vectors)
            found = self._rule(vectors)
        if found is None:
            raise UserError(f"{self._name} comes to no aggregate of these {len(updates)} updates; is its f above 0?")
        return Aggregate(found.float().clone(), updates.buffers.mean(dim=0))

    def state(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self._rule).items() if isinstance(value, Tensor)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        vars(self._rule).update(state)


def preaggregators(text: str) -> list[Callable[[Tensor], Tensor]]:
    """What ``text`` names, ``NNM[f=2,pre=ARC[f=2]]``, in the order in which they work. Raises UserError."""
    name, given = parse_choice(text)
    earlier = given.pop("pre", "")
    component = member(Component("defense", "byzfl", "", "", (), library=BEFORE), name)
    mix = make(BEFORE, Member(name, Choice(component, component.resolve(given)).options))
    return [*(preaggregators(earlier) if earlier else []), mix]
