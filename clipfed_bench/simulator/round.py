"""One federated round: sample clients, train them, craft, aggregate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, Attack, ClientUpdates, CraftContext, Defense, RoundContext
from clipfed_bench.data.types import Images
from clipfed_bench.rng import generator
from clipfed_bench.simulator.local import Hyper, Normalizer, batches, train_client
from clipfed_bench.simulator.params import FlatModel
from clipfed_bench.spec import CellSpec


def malicious_clients(spec: CellSpec) -> tuple[int, ...]:
    """Ids of the malicious clients, ascending: ``round(malicious * clients)`` of them, at least one if any."""
    count = max(round(spec.malicious * spec.clients), 1) if spec.malicious > 0 else 0
    return tuple(sorted(torch.randperm(spec.clients, generator=generator(spec.seed, "malicious"))[:count].tolist()))


def sample_clients(spec: CellSpec, round_: int) -> tuple[int, ...]:
    """The round's clients, ascending; the same for every attack and defense.

    With ``malicious_sampling = "fixed"`` the malicious share of a round is held at ``malicious`` (at least one client
    if any) [lineage]; with ``"random"`` clients are drawn from all alike [ours].
    """
    stream = generator(spec.seed, "sampling", round_)
    if spec.malicious_sampling == "random":
        return tuple(sorted(torch.randperm(spec.clients, generator=stream)[: spec.clients_per_round].tolist()))
    bad = malicious_clients(spec)
    good = sorted(set(range(spec.clients)) - set(bad))
    count = max(round(spec.malicious * spec.clients_per_round), 1) if bad else 0
    count = min(max(count, spec.clients_per_round - len(good)), len(bad))
    chosen = [bad[i] for i in torch.randperm(len(bad), generator=stream)[:count]]
    chosen += [good[i] for i in torch.randperm(len(good), generator=stream)[: spec.clients_per_round - count]]
    return tuple(sorted(chosen))


@dataclass(frozen=True)
class Federation:
    """The clients of a cell: their data and how they train. Holds no state that a round changes."""

    spec: CellSpec
    clients: list[Images]
    malicious: tuple[int, ...]
    normalize: Normalizer
    hyper: Hyper

    def train(self, flat: FlatModel, round_: int, sampled: tuple[int, ...], attack: Attack | None) -> ClientUpdates:
        """Local training of ``sampled`` from the model ``flat`` is bound to, which is bound to it again afterwards.

        ``attack`` None: everybody is honest. Row k of the result belongs to ``sampled[k]``.
        """
        params, buffers = flat.params, flat.buffers
        rows = params.repeat(len(sampled), 1)
        buffer_rows = buffers.repeat(len(sampled), 1)
        for k, client in enumerate(sampled):
            poison = None
            if attack is not None and client in self.malicious:
                attacker = self.malicious.index(client)

                def poison(images: Tensor, labels: Tensor, attacker: int = attacker) -> tuple[Tensor, Tensor]:
                    return attack.poison(images, labels, attacker)

            flat.bind(rows[k], buffer_rows[k])
            order = batches(len(self.clients[client]), self.hyper, self.spec.seed, round_, client)
            train_client(flat, self.clients[client], order, self.normalize, self.hyper, poison)
        flat.bind(params, buffers)
        rows -= params
        sizes = torch.tensor([len(self.clients[c]) for c in sampled], dtype=torch.float64)
        return ClientUpdates(rows, buffer_rows, sizes, sampled, params, buffers)

    def craft(self, updates: ClientUpdates, flat: FlatModel, round_: int, attack: Attack) -> None:
        """Replace the malicious rows of ``updates`` in place by what ``attack`` uploads, times ``attack_scale``."""
        index = [k for k, client in enumerate(updates.clients) if client in self.malicious]
        if not index:
            return
        clients = tuple(updates.clients[k] for k in index)
        context = CraftContext(round_, clients, updates.global_params, flat.layers, self.spec.seed)
        updates.deltas[index] = attack.craft(updates.deltas[index], context) * self.spec.attack_scale


def aggregate_updates(defense: Defense, updates: ClientUpdates, context: RoundContext) -> tuple[Aggregate, int]:
    """``defense.aggregate`` on the finite updates, and how many were dropped because they hold NaN or infinity.

    ``kept`` of the result has an entry for every client again; dropped ones are False. When nothing finite is left
    the global model stays as it is.
    """
    finite = torch.isfinite(updates.deltas.sum(dim=1)) & torch.isfinite(updates.buffers.sum(dim=1))
    if not bool(finite.all()):  # a finite row can have an overflowing sum: look closer only then
        finite = torch.isfinite(updates.deltas).all(dim=1) & torch.isfinite(updates.buffers).all(dim=1)
    dropped = int((~finite).sum())
    if dropped == 0:
        return defense.aggregate(updates, context), 0
    if dropped == len(updates):
        none = torch.zeros(len(updates), dtype=torch.bool, device=finite.device)
        return Aggregate(torch.zeros_like(updates.global_params), updates.global_buffers, kept=none), dropped
    result = defense.aggregate(updates.select(finite), context)
    kept = finite.clone()
    if result.kept is not None:
        kept[finite] = result.kept.to(kept.device)
    return Aggregate(result.delta, result.buffers, kept, result.info), dropped


def detection(kept: Tensor | None, clients: tuple[int, ...], malicious: tuple[int, ...]) -> tuple[float, float]:
    """(TPR, FPR) of a selection: shares of malicious and of benign clients that were rejected; nan where undefined."""
    if kept is None:
        return math.nan, math.nan
    rejected = [not k for k in kept.tolist()]
    bad = [r for r, c in zip(rejected, clients, strict=True) if c in malicious]
    good = [r for r, c in zip(rejected, clients, strict=True) if c not in malicious]
    return (sum(bad) / len(bad) if bad else math.nan), (sum(good) / len(good) if good else math.nan)
