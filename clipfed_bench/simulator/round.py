"""One federated round: sample clients, train them, craft, aggregate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

from clipfed_bench.api import (
    Aggregate,
    Attack,
    ClientUpdates,
    CraftContext,
    Defense,
    LocalContext,
    LocalModel,
    RoundContext,
)
from clipfed_bench.data.types import Images
from clipfed_bench.rng import generator
from clipfed_bench.simulator.evaluate import predict
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.local import Hyper, Normalizer, Task, batches
from clipfed_bench.simulator.params import FlatModel, aligned
from clipfed_bench.simulator.shapes import fitting
from clipfed_bench.spec import CellSpec
from clipfed_bench.transfer import Figure, to_device, to_host


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


def split_off(data: Images, share: float, seed: int, client: int) -> tuple[Images, Images]:
    """(rest, ``int(share * N)`` images drawn for good): what a client trains on and what it keeps to validate on."""
    count = int(share * len(data))
    if count == 0:
        nothing = torch.empty(0, dtype=torch.int64, device=data.labels.device)
        return data, data.take(nothing)
    order = to_device(torch.randperm(len(data), generator=generator(seed, "held-out", client)), data.labels.device)
    return data.take(order[count:]), data.take(order[:count])


@dataclass(frozen=True)
class Federation:
    """The clients of a cell: their data and how they train. Holds no state that a round changes."""

    spec: CellSpec
    clients: list[Images]
    malicious: tuple[int, ...]
    normalize: Normalizer
    hyper: Hyper
    executor: Executor
    """Where they train."""

    def train(
        self,
        flat: FlatModel,
        round_: int,
        sampled: tuple[int, ...],
        attack: Attack | None,
        previous_update: Tensor | None = None,
    ) -> ClientUpdates:
        """Local training of ``sampled`` from the global model ``flat``.

        ``attack`` None: everybody is honest. ``previous_update`` (P,): how far the global model moved in the round
        before, where there was one. Row k of the result belongs to ``sampled[k]``.
        """
        params, buffers, count = flat.params, flat.buffers, len(sampled)
        rule = attack.gradient_rule(LocalContext(round_, params, previous_update)) if attack is not None else None
        tasks = []
        for client in sampled:
            if attack is None or client not in self.malicious:
                tasks.append(self._task(self.clients[client], round_, client))
            else:
                own, _ = split_off(self.clients[client], attack.held_out, self.spec.seed, client)
                poison = partial(attack.poison, attacker=self.malicious.index(client))
                tasks.append(replace(self._task(own, round_, client), poison=poison, rule=rule))
        dtype = getattr(torch, self.spec.update_dtype or "float32")
        deltas, statistics = params.new_empty(count, len(params), dtype=dtype), buffers.new_empty(count, len(buffers))
        self.executor.train(tasks, params, buffers, deltas, statistics)
        sizes = torch.tensor([len(self.clients[c]) for c in sampled], dtype=torch.float64)
        return ClientUpdates(deltas, statistics, sizes, sampled, params, buffers)

    def _task(self, data: Images, round_: int, client: int) -> Task:
        return Task(data, batches(len(data), self.hyper, self.spec.seed, round_, client))

    def craft(self, updates: ClientUpdates, flat: FlatModel, round_: int, attack: Attack) -> None:
        """Replace the malicious rows of ``updates`` in place by what ``attack`` uploads, times ``attack_scale``.

        Raises UserError if that is not of the shape of what they trained.
        """
        index = [k for k, client in enumerate(updates.clients) if client in self.malicious]
        if not index:
            return
        context, rows = self._craft_context(updates, index, flat, round_, attack), _rows(updates, index)
        own = updates.deltas.index_select(0, rows).float()
        name = type(attack).__name__
        deltas = fitting(attack.craft(own, context), own.shape, f"what {name}.craft gives")
        buffers = fitting(attack.craft_buffers(context), context.buffers.shape, f"what {name}.craft_buffers gives")
        for k, delta in zip(index, deltas, strict=True):  # one by one: all of them scaled would be as much memory again
            updates.deltas[k] = delta * self.spec.attack_scale
        updates.buffers[rows] = buffers

    def _craft_context(
        self, updates: ClientUpdates, index: list[int], flat: FlatModel, round_: int, attack: Attack
    ) -> CraftContext:
        start, statistics = updates.global_params, updates.global_buffers

        def share(client: int) -> tuple[Images, Images]:
            return split_off(self.clients[client], attack.held_out, self.spec.seed, client)

        @cache
        def honest(client: int) -> LocalModel:
            delta, own = torch.empty_like(start)[None], torch.empty_like(statistics)[None]
            self.executor.train([self._task(share(client)[0], round_, client)], start, statistics, delta, own)
            return LocalModel(delta[0], own[0])

        def validation(client: int) -> tuple[Tensor, Tensor]:
            kept = share(client)[1]
            return self.normalize.pixels(kept.images), kept.labels

        def logits(params: Tensor, buffers: Tensor, images: Tensor) -> Tensor:
            flat.bind(aligned(params), aligned(buffers))
            result = predict(flat.model, self.normalize(images))
            flat.bind(start, statistics)
            return result

        return CraftContext(
            round=round_,
            clients=tuple(updates.clients[k] for k in index),
            global_params=start,
            layers=flat.layers,
            buffers=updates.buffers[_rows(updates, index)],
            participants=len(updates),
            colluders=self.malicious,
            honest=honest,
            validation=validation,
            logits=logits,
            seed=self.spec.seed,
        )


def _rows(updates: ClientUpdates, index: list[int]) -> Tensor:
    return to_device(torch.tensor(index), updates.deltas.device)


def aggregate_updates(defense: Defense, updates: ClientUpdates, context: RoundContext) -> tuple[Aggregate, int]:
    """``defense.aggregate`` on the finite updates, and how many were dropped because they hold NaN or infinity.

    ``kept`` of the result has an entry for every client again; dropped ones are False. When nothing finite is left
    the global model stays as it is. Raises UserError for a result of another shape than :class:`Aggregate` says.
    """
    device = updates.deltas.device
    finite = to_host(torch.isfinite(updates.deltas.sum(dim=1)) & torch.isfinite(updates.buffers.sum(dim=1)))
    if not finite.all():  # a finite row can have an overflowing sum: look closer only then
        finite = to_host(torch.isfinite(updates.deltas).all(dim=1) & torch.isfinite(updates.buffers).all(dim=1))
    rows = finite.nonzero().flatten()
    dropped = len(updates) - len(rows)
    if dropped == 0:
        return _aggregate(defense, updates, context), 0
    kept = to_device(finite, device)
    if dropped == len(updates):
        return Aggregate(torch.zeros_like(updates.global_params), updates.global_buffers, kept), dropped
    result = _aggregate(defense, updates.select(rows), context)
    if result.kept is not None:
        kept[to_device(rows, device)] = to_device(result.kept, device)
    return Aggregate(result.delta, result.buffers, kept, result.info), dropped


def _aggregate(defense: Defense, updates: ClientUpdates, context: RoundContext) -> Aggregate:
    result, name = defense.aggregate(updates, context), type(defense).__name__
    fitting(result.delta, updates.global_params.shape, f"the delta of {name}.aggregate")
    fitting(result.buffers, updates.global_buffers.shape, f"what {name}.aggregate gives as buffers")
    if result.kept is not None:
        fitting(result.kept, (len(updates),), f"what {name}.aggregate gives as kept", torch.bool)
    return result


def detection(kept: Tensor | None, clients: tuple[int, ...], malicious: tuple[int, ...]) -> tuple[Figure, Figure]:
    """(TPR, FPR) of a selection: shares of malicious and of benign clients that were rejected; nan where undefined.

    Where there is a selection they are tensors without dimensions, float64, on its device.
    """
    if kept is None:
        return math.nan, math.nan
    bad = torch.tensor([client in malicious for client in clients])
    groups = to_device(torch.stack([bad, ~bad]), kept.device)
    tpr, fpr = (groups & ~kept).sum(dim=1).double() / groups.sum(dim=1)
    return tpr, fpr
