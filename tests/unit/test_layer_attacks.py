"""LayerAttack and AFA by their defining properties: which layers are substituted, flipped, and why those."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from makers.attacks import TARGET, make
from makers.images import random_images
from makers.specs import cell
from torch import Tensor

from clipfed_bench.api import Aggregate, Attack, LocalModel, RoundContext
from clipfed_bench.attack_kit import rehearsal
from clipfed_bench.attack_kit.layer_substitution import critical_layers, modules, substitute
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.local import Hyper
from clipfed_bench.simulator.sampling import malicious_clients, split_off
from clipfed_bench.toolbox.images import Images, Normalizer

NAMES = ("afa", "layer", "model-replacement", "neurotoxin")


# --- layer substitution analysis, by hand ----------------------------------------------------------------------------

LAYERS = {"a.weight": slice(0, 2), "a.bias": slice(2, 3), "b.weight": slice(3, 4), "c.weight": slice(4, 6)}
START = torch.tensor([1.0, 2, 3, 4, 5, 6])
HONEST = LocalModel(torch.zeros(6), torch.tensor([0.0]))
POISONED = LocalModel(torch.ones(6), torch.tensor([1.0]))


class Shares:
    """Success is the sum of the shares of the modules that are poisoned; remembers what it was asked."""

    def __init__(self, **shares: float) -> None:
        self.shares = shares
        self.asked: list[tuple[str, float]] = []

    def __call__(self, params: Tensor, buffers: Tensor) -> float:
        moved = (params - START).bool()
        bad = [name for name, places in modules(LAYERS).items() if all(bool(moved[p].all()) for p in places)]
        assert int(moved.sum()) == sum(len(range(*p.indices(6))) for n in bad for p in modules(LAYERS)[n])
        self.asked.append(("".join(bad), buffers.item()))
        return sum(self.shares[name] for name in bad)


def critical(success: Shares, threshold: float) -> list[str]:
    return critical_layers(HONEST, POISONED, START, LAYERS, success, threshold)


def test_a_module_is_a_layer() -> None:
    assert modules(LAYERS) == {"a": [slice(0, 2), slice(2, 3)], "b": [slice(3, 4)], "c": [slice(4, 6)]}
    mixed = substitute(START, -START, modules(LAYERS)["a"])
    assert mixed.tolist() == [-1, -2, -3, 4, 5, 6]
    assert START.tolist() == [1, 2, 3, 4, 5, 6]


def test_layers_are_ranked_forward_and_added_backward() -> None:
    success = Shares(a=0.1, b=0.3, c=0.6)
    assert critical(success, 0.85) == ["c", "b"]
    # the poisoned model; one honest layer in it; then poisoned layers in the honest model, with each one's statistics
    forward = [("abc", 1.0), ("bc", 1.0), ("ac", 1.0), ("ab", 1.0)]
    assert success.asked == [*forward, ("c", 0.0), ("bc", 0.0)]


def test_threshold_ties_and_failure() -> None:
    assert critical(Shares(a=0.1, b=0.3, c=0.6), 0.6) == ["c"]
    assert critical(Shares(a=0.25, b=0.25, c=0.5), 1.0) == ["c", "a", "b"]  # ties in the model's order
    assert critical(Shares(a=0.0, b=0.0, c=0.0), 0.95) == []  # no success, nothing to upload


# --- a federation in which a backdoor is learned ---------------------------------------------------------------------

SPEC = cell(clients=6, clients_per_round=6, malicious=0.34, local_epochs=6, batch_size=16, lr=0.05)


class World:
    """One round with two attackers, ``bad``, and an honest client; ``context`` remembers the honest models."""

    def __init__(self, attack: Attack) -> None:
        env = Environment(cache_dir=Path(), warmup_dir=Path())
        self.federation, self.attack = CellSetup(SPEC, env).federation, attack
        self.flat = FlatModel(build_model(SPEC.model, 10, 0))
        self.bad = self.federation.malicious
        good = next(c for c in range(SPEC.clients) if c not in self.bad)
        self.poisoned = self.federation.train(self.flat, 1, (*self.bad, good), attack)
        self.context = self.federation._craft_context(self.poisoned, [0, 1], self.flat, 1, attack)
        self.honest = cache(self._honest)

    def craft(self, name: str, **options: Any) -> Tensor:
        """What an attack that trains and holds out like this one uploads, (2, P)."""
        attack = make(name, **options)
        assert attack.held_out == self.attack.held_out
        return attack.craft(self.poisoned.deltas[:2], self.context)

    def kept(self, client: int) -> tuple[Images, Images]:
        return split_off(self.federation.clients[client], self.attack.held_out, SPEC.seed, client)

    def _honest(self, client: int) -> Tensor:
        """The client's update when everybody is honest and it has just the images that are not held out."""
        clients = list(self.federation.clients)
        clients[client] = self.kept(client)[0]
        return replace(self.federation, clients=clients).train(self.flat, 1, (client,), None).deltas[0]

    def success(self, delta: Tensor, client: int) -> float:
        kept, normalize = self.kept(client)[1], self.federation.normalize
        images = self.attack.trigger(normalize.pixels(kept.images[kept.labels != TARGET]))
        twin = FlatModel(build_model(SPEC.model, 10, 0))
        twin.bind(self.flat.params + delta, self.flat.buffers.clone())
        with torch.no_grad():
            logits = twin.model.eval()(normalize(images))
        return float((logits.argmax(1) == TARGET).float().mean())


@pytest.fixture(scope="module")
def world() -> World:
    return World(make("layer"))


def changed_modules(one: Tensor, two: Tensor, flat: FlatModel) -> set[str]:
    return {n for n, parts in modules(flat.layers).items() if any(not torch.equal(one[p], two[p]) for p in parts)}


def test_layer_poisons_critical_layers_alone_and_keeps_the_backdoor(world: World) -> None:
    for client, poisoned, crafted in zip(world.bad, world.poisoned.deltas, world.craft("layer"), strict=False):
        honest, whole = world.honest(client), world.success(poisoned, client)
        assert whole > 0.9
        assert world.success(honest, client) < 0.5
        assert world.success(crafted, client) >= 0.95 * whole
        chosen = changed_modules(crafted, honest, world.flat)
        assert 1 <= len(chosen) < len(modules(world.flat.layers))
        for name, parts in modules(world.flat.layers).items():
            for part in parts:
                assert torch.equal(crafted[part], (poisoned if name in chosen else honest)[part])


def test_the_simulator_uploads_what_was_crafted(world: World) -> None:
    expected = world.craft("layer")
    uploaded = replace(world.poisoned, deltas=world.poisoned.deltas.clone(), buffers=world.poisoned.buffers.clone())
    world.federation.craft(uploaded, world.flat, 1, world.attack)
    assert torch.equal(uploaded.deltas[:2], expected)
    assert torch.equal(uploaded.deltas[2], world.poisoned.deltas[2])  # the honest client
    assert uploaded.num_samples.tolist() == [len(world.federation.clients[c]) for c in uploaded.clients]


def test_afa_flips_signs_on_the_same_layers(world: World) -> None:
    flipped, substituted = world.craft("afa"), world.craft("layer")
    for k, client in enumerate(world.bad):
        honest, poisoned = world.honest(client), world.poisoned.deltas[k]
        chosen = changed_modules(substituted[k], honest, world.flat)
        assert changed_modules(flipped[k], honest, world.flat) == chosen
        for name, parts in modules(world.flat.layers).items():
            for part in parts:  # 2 w_global - w_poisoned
                assert torch.equal(flipped[k][part], -poisoned[part] if name in chosen else honest[part])


def test_afa_flips_everything_when_asked(world: World) -> None:
    rows = world.poisoned.deltas[:2]
    assert torch.equal(make("afa", layers="all").craft(rows, world.context), -rows)


@pytest.mark.parametrize(("scale", "rest"), [(0.25, 0.75), (3.0, 0.0)])
def test_layer_scale_is_lambda_of_equation_4(world: World, scale: float, rest: float) -> None:
    plain, scaled = world.craft("layer"), world.craft("layer", scale=scale)
    for k, client in enumerate(world.bad):
        honest, poisoned = world.honest(client), world.poisoned.deltas[k]
        chosen = changed_modules(plain[k], honest, world.flat)
        for name, parts in modules(world.flat.layers).items():
            for part in parts:
                expected = scale * poisoned[part] + rest * honest[part] if name in chosen else honest[part]
                torch.testing.assert_close(scaled[k][part], expected)


def test_layer_drops_the_least_critical_layers_until_the_check_accepts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = world.honest(world.bad[0])
    full = changed_modules(world.craft("layer")[0], honest, world.flat)
    assert len(full) > 2
    tried: list[int] = []

    class Filter:
        """Keeps whoever differs from the first attacker's honest self in one or two layers."""

        def aggregate(self, updates: Any, context: RoundContext) -> Aggregate:
            # a copy for each attacker in the round, and the honest model of the only other one
            assert len(updates) == 3
            assert torch.equal(updates.deltas[0], updates.deltas[1])
            assert torch.equal(updates.deltas[2], world.honest(world.bad[1]))
            tried.append(len(changed_modules(updates.deltas[0], honest, world.flat)))
            return Aggregate(updates.deltas[0], updates.buffers[0], torch.tensor([False, tried[-1] <= 2, True]))

    monkeypatch.setattr(rehearsal, "create_defense", lambda *args: Filter())
    attack = make("layer", check="flame")
    crafted = attack._craft(
        LocalModel(world.poisoned.deltas[0], world.poisoned.buffers[0]), world.bad[0], world.context
    )
    assert tried == list(range(len(full), 1, -1))
    assert changed_modules(crafted, honest, world.flat) < full
    monkeypatch.setattr(Filter, "aggregate", lambda *_: Aggregate(honest, honest, None))
    with pytest.raises(UserError, match="selects no clients"):
        world.craft("layer", check="flame")


def test_layer_check_with_a_real_filter(world: World) -> None:
    plain, checked = world.craft("layer"), world.craft("layer", check="krum")
    for k, client in enumerate(world.bad):
        honest = world.honest(client)
        assert changed_modules(checked[k], honest, world.flat) <= changed_modules(plain[k], honest, world.flat)
        assert changed_modules(checked[k], honest, world.flat)


def test_running_statistics_are_the_honest_ones() -> None:
    clients = [random_images(4, 0, torch.arange(4)) for _ in range(2)]
    spec = CellSpec(dataset="digits", model="resnet18", clients=2, clients_per_round=2, malicious=0.5)
    plain = Normalizer((0.5,) * 3, (0.25,) * 3)
    (bad,) = malicious_clients(spec)
    for name, options, of_honest in (
        ("layer", {}, True),
        ("afa", {"layers": "all"}, False),
    ):
        attack = make(name, **options)
        hyper = Hyper(1, 8, 0.01, 0.0, 0.0)
        executor = Executor(build_model("resnet18", 10, 0), plain, hyper)
        federation = Federation(spec, clients, (bad,), plain, hyper, executor)
        flat = FlatModel(build_model("resnet18", 10, 0))
        updates = federation.train(flat, 1, (bad,), attack)
        own = split_off(clients[bad], attack.held_out, spec.seed, bad)[0]
        alone = replace(federation, clients=[own, own]).train(flat, 1, (bad,), None)
        poisoned, start = updates.buffers.clone(), (flat.params.clone(), flat.buffers.clone())
        assert not torch.equal(poisoned, alone.buffers)
        federation.craft(updates, flat, 1, attack)
        assert torch.equal(updates.buffers, alone.buffers if of_honest else poisoned)
        assert torch.equal(flat.params, start[0])  # the simulator's model is as it was, and still bound
        assert torch.equal(flat.buffers, start[1])


def test_held_out_images_are_a_fixed_part_and_the_rest_trains() -> None:
    data = Images(torch.arange(11, dtype=torch.uint8).view(11, 1, 1, 1), torch.arange(11))
    rest, kept = split_off(data, 0.25, 0, 3)
    assert (len(rest), len(kept)) == (9, 2)  # 11 // 4
    assert sorted([*rest.labels.tolist(), *kept.labels.tolist()]) == list(range(11))
    assert torch.equal(kept.labels, split_off(data, 0.25, 0, 3)[1].labels)
    assert len({tuple(split_off(data, 0.25, 0, c)[1].labels.tolist()) for c in range(9)}) > 3
    assert split_off(data, 0.0, 0, 3)[0] is data
