"""Federated training of one cell, round by round, from wherever it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Attack, Defense, RoundContext
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.work_counts import count
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.aggregation import aggregate_updates, detection
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.checkpoint import Saved
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.history import Log
from clipfed_bench.simulator.sampling import sample_clients

ATTACK, DEFENSE = "attack/", "defense/"
"""In a checkpoint, what the names of an attack's or a defense's own tensors begin with."""


@dataclass
class Training:
    """A cell under way: the global model, what each round hands to the next, and the figures so far."""

    spec: CellSpec
    federation: Federation
    flat: FlatModel
    defense: Defense
    log: Log
    done: int = 0
    """Rounds that were played."""
    first: int = 1
    """Number of the first round, from which its random streams derive."""
    previous_update: Tensor | None = None
    """(P,) float32, by how much the model moved in the last round."""
    attack: Attack | None = None
    """That of later rounds, whose state is kept; None where all are honest throughout."""
    judged: tuple[int, ...] = ()
    """Clients whose update was finite in the last round."""

    def play(self, attack: Attack | None) -> None:
        """The next round; without an ``attack`` all clients are honest in it."""
        spec, flat, log, federation = self.spec, self.flat, self.log, self.federation
        round_ = self.first + self.done
        sampled, context = sample_clients(spec, round_), RoundContext(round_, spec.seed)
        start = flat.params.clone()
        if attack is not None and attack.adaptive:
            with log.timed("seconds_attack"):
                federation.adapt(flat, round_, sampled, attack)
        with log.timed("seconds_local"):
            updates = federation.train(flat, round_, sampled, attack, self.previous_update)
        if attack is not None:
            with log.timed("seconds_attack"):
                federation.craft(updates, flat, round_, attack)
        with log.timed("seconds_defense"):
            result, self.judged = aggregate_updates(self.defense, updates, context)
            flat.params += result.delta
            flat.buffers.copy_(result.buffers)
            with log.timed("seconds_purify"):
                self.defense.purify(flat.model, context)
        malicious = federation.malicious if attack is not None and spec.attacked else ()
        attackers = len(set(malicious) & set(self.judged)) if malicious else math.nan
        rates = detection(result.kept, self.judged, malicious)
        log.selection(*rates, len(sampled) - len(self.judged), result.info, attackers)
        self.done, self.previous_update = self.done + 1, flat.params - start
        count("round")

    @property
    def is_evaluated(self) -> bool:
        """Whether the model is to be evaluated now."""
        return self.done % self.spec.eval_every == 0 or self.done == self.spec.rounds

    def refuse_divergence(self) -> None:
        """Raise UserError where the round that was just played shows that training has diverged.

        Figures of what is left would be those of a broken model, and an ASR of 0 the best there is.
        """
        spec, flat = self.spec, self.flat
        which = f"{'warm-up ' if self.first < 1 else ''}round {self.done}"
        if not self.judged:
            raise UserError(
                f"training has diverged: in {which} not one of {spec.clients_per_round} updates was finite; use a "
                f"smaller lr than {spec.lr:g}."
            )
        if not bool(torch.isfinite(flat.params).all() & torch.isfinite(flat.buffers).all()):
            raise UserError(
                f"training has diverged: after {which} the global model is not finite, though clients' updates were; "
                f"use a smaller lr than {spec.lr:g}, or other options of {spec.defense}."
            )

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that the last round, of which there has to be one, hands to the next."""
        assert self.previous_update is not None
        own = {"params": self.flat.params, "buffers": self.flat.buffers, "previous_update": self.previous_update}
        of_attack = self.attack.state() if self.attack is not None else {}
        own |= {f"{ATTACK}{name}": value for name, value in of_attack.items()}
        return own | {f"{DEFENSE}{name}": value for name, value in self.defense.state().items()}

    def restore(self, saved: Saved) -> None:
        """Make everything what it was after the round that ``saved`` is of."""
        self.flat.params.copy_(saved.tensors["params"])
        self.flat.buffers.copy_(saved.tensors["buffers"])
        self.defense.load_state(_below(saved.tensors, DEFENSE))
        if self.attack is not None and (state := _below(saved.tensors, ATTACK)):  # a prefix has none
            self.attack.load_state(state)
        self.log.load_state(saved.facts)
        self.done, self.previous_update = saved.round, saved.tensors["previous_update"]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def new_training(setup: CellSetup) -> Training:
    """The cell before anything has happened: its initial model, its clients, and its defense, prepared."""
    federation, defense = setup.federation, setup.new_defense()
    return Training(setup.spec, federation, setup.new_model(), defense, Log(setup.env.device))
