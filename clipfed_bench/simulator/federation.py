"""The clients of a cell: their local training in a round, and what the malicious ones upload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from clipfed_bench.api import (
    AdaptContext,
    Attack,
    ClientUpdates,
    CraftContext,
    LocalContext,
    LocalModel,
    Loss,
)
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.models.flat import FlatModel, aligned
from clipfed_bench.simulator.evaluate import pixel_model, predict
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.local import Hyper, Poison, Task, batch_sizes, batches
from clipfed_bench.simulator.sampling import held_back, poisoned_counts, sample_clients, split_off
from clipfed_bench.simulator.shape_checks import fitting
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.images import Images, Normalizer


@dataclass(frozen=True)
class Federation:
    """The clients of a cell: their data and how they train. Holds no state that a round changes."""

    spec: CellSpec
    clients: Sequence[Images]
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
        rules = self._rules(attack, LocalContext(round_, params, previous_update))
        sizes: list[int] = []

        def task(client: int) -> Task:
            images = self.clients[client]
            sizes.append(len(images))
            if attack is None or client not in self.malicious:
                return self._task(images, round_, client)
            own, _ = split_off(images, attack.held_out, self.spec.seed, client)
            return replace(self._task(own, round_, client), poison=self._poison(attack, round_, client), **rules)

        dtype = getattr(torch, self.spec.update_dtype or "float32")
        deltas, statistics = params.new_empty(count, len(params), dtype=dtype), buffers.new_empty(count, len(buffers))
        self.executor.train(map(task, sampled), params, buffers, deltas, statistics)
        weights = torch.tensor(sizes, dtype=torch.float64)
        return ClientUpdates(deltas, statistics, weights, sampled, params, buffers)

    def _rules(self, attack: Attack | None, context: LocalContext) -> dict[str, Any]:
        """What malicious clients do in each step, as entries of :class:`Task`; alike for all of them."""
        if attack is None:
            return {}
        rules = {"rule": attack.gradient_rule(context), "after": attack.parameter_rule(context)}
        return {"loss": attack.local_loss(context), **rules}

    def _task(self, data: Images, round_: int, client: int) -> Task:
        return Task(data, batches(len(data), self.hyper, self.spec.seed, round_, client))

    def _poison(self, attack: Attack, round_: int, client: int) -> Poison:
        attacker = self.malicious.index(client)
        if self.spec.poison_ratio >= 1:
            return partial(attack.poison, attacker=attacker)
        counts = self._poisoned(attack, round_, client)
        return lambda images, labels: attack.poison(images, labels, attacker, next(counts))

    def _poisoned(self, attack: Attack, round_: int, client: int) -> Iterator[int]:
        """How many images of each batch are poisoned."""
        images = len(self.clients[client])
        sizes = batch_sizes(images - held_back(attack.held_out, images), self.hyper)
        return poisoned_counts(self.spec, round_, client, sizes)

    def refuse_nothing(self, attack: Attack) -> None:
        """Raise UserError where ``attack`` would not take place in any of the cell's rounds."""
        spec = self.spec
        rounds = range(spec.attack_start, min(spec.attack_stop or spec.rounds, spec.rounds) + 1)
        when = f"in the attacked rounds, {rounds[0]} to {rounds[-1]}"
        drawn = ((r, client) for r in rounds for client in sample_clients(spec, r) if client in self.malicious)
        first = next(drawn, None)
        if first is None:
            raise UserError(
                f"malicious: {spec.malicious:g} of {spec.clients_per_round} clients a round is nobody {when}; more "
                "rounds, clients a round or malicious ones are needed."
            )
        if not any(any(self._poisoned(attack, *each)) for each in chain([first], drawn)):
            raise UserError(
                f"poison_ratio: {spec.poison_ratio:g} ({spec.poison_rounding}) of batches of at most {spec.batch_size} "
                f"poisons no image {when}; a greater ratio is needed, or more rounds."
            )
        images = self.normalize.pixels(self.clients[first[1]].images)
        if not attack.untargeted and torch.equal(attack.trigger(images), images):
            raise UserError(f"{spec.attack}: its trigger leaves images as they are; other options are needed.")
        kept = (split_off(self.clients[c], attack.held_out, spec.seed, c)[1].labels for c in self.malicious)
        if attack.held_out and not any(bool((labels != spec.target).any()) for labels in kept):
            raise UserError(
                f"{spec.attack.name}: of the share {attack.held_out:g} of images that malicious clients keep to "
                f"measure success on, none is of another class than target {spec.target}; a greater share is needed."
            )

    def adapt(self, flat: FlatModel, round_: int, sampled: tuple[int, ...], attack: Attack) -> None:
        """Let ``attack`` fit its trigger to the global model ``flat``, if any of ``sampled`` is malicious."""
        clients = tuple(client for client in sampled if client in self.malicious)

        if clients:
            images = partial(self._own_images, attack)
            model = partial(pixel_model, flat.model, self.normalize)
            attack.adapt(AdaptContext(round_, clients, images, model, self.hyper.batch_size, self.spec.seed))

    def _own_images(self, attack: Attack, client: int) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [0, 1] that a malicious client trains on, unpoisoned, and labels (N,)."""
        own, _ = split_off(self.clients[client], attack.held_out, self.spec.seed, client)
        return self.normalize.pixels(own.images), own.labels

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

        def trained(client: int, loss: Loss | None = None) -> LocalModel:
            delta, own = torch.empty_like(start)[None], torch.empty_like(statistics)[None]
            task = replace(self._task(share(client)[0], round_, client), loss=loss)
            self.executor.train([task], start, statistics, delta, own)
            return LocalModel(delta[0], own[0])

        def others() -> Tensor:
            rest = [k for k in range(len(updates)) if k not in index]
            return updates.deltas.index_select(0, _rows(updates, rest)).float()

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
            honest=cache(trained),
            trained=trained,
            others=others,
            images=partial(self._own_images, attack),
            model=partial(pixel_model, flat.model, self.normalize),
            validation=validation,
            logits=logits,
            seed=self.spec.seed,
        )


def _rows(updates: ClientUpdates, index: list[int]) -> Tensor:
    return to_device(torch.tensor(index), updates.deltas.device)
