"""Attacks on the model by their defining properties: what is masked, scaled, flipped or substituted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from makers.attacks import make
from makers.federations import small_federation
from makers.specs import environment, small_cell
from torch import Tensor

from attacks import model_replacement, neurotoxin
from clipfed_bench.api import Attack, LocalContext, RoundContext, ServerContext
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import CellResult, Environment
from clipfed_bench.simulator.cell import run_cell

NAMES = ("afa", "chameleon", "layer", "model-replacement", "neurotoxin", "pgd")


# --- borrowing a trigger ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_trigger_and_poison_are_those_of_the_attack_named(name: str) -> None:
    images, labels = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    for trigger, plain in (("dba", make("dba")), ("badnets[size=3,row=1]", make("badnets", size=3, row=1))):
        attack = make(name, trigger=trigger)
        assert torch.equal(attack.trigger(images), plain.trigger(images))
        for attacker in range(4):
            assert torch.equal(attack.client_trigger(images, attacker), plain.client_trigger(images, attacker))
            for one, two in zip(
                attack.poison(images, labels, attacker), plain.poison(images, labels, attacker), strict=True
            ):
                assert torch.equal(one, two)


def test_nested_options_survive_the_label_of_a_cell() -> None:
    text = "neurotoxin[trigger=badnets[size=3,row=1],masked=0.1]"
    choice = choose("attack", text)
    assert choice.options == {"trigger": "badnets[size=3,row=1]", "masked": 0.1}
    assert str(choice) == text
    assert CellSpec(dataset="digits", attack=text).attack == choice


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("layer", {"trigger": "badnet"}, "unknown attack 'badnet'"),
        ("layer", {"trigger": "badnets[sise=3]"}, "sise"),
        ("neurotoxin", {"trigger": "model-replacement"}, "no trigger of its own"),
        ("neurotoxin", {"masked": 1.5}, "masked 1.5"),
        ("neurotoxin", {"masked": 1.0}, "masked 1.0 leaves no parameter"),
        ("layer", {"scale": 0.0}, "scale 0.0 leaves no poisoned update"),
        ("model-replacement", {"gamma": 0.0}, "gamma 0.0"),
        ("layer", {"threshold": 0.0}, "threshold 0.0"),
        ("layer", {"validation": 1.0}, "validation 1.0"),
        ("layer", {"scale": -1.0}, "scale -1.0"),
        ("layer", {"check": "clip-fed"}, "only the server has"),
        ("afa", {"validation": 0.0}, "validation 0.0"),
        ("model-replacement", {"alpha": 2.0}, "alpha 2.0"),
        ("model-replacement", {"gamma": -1.0}, "gamma -1.0"),
        ("model-replacement", {"bound": 0.0}, "bound 0.0"),
    ],
)
def test_what_does_not_fit(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make(name, **options)


# --- neurotoxin ------------------------------------------------------------------------------------------------------


def test_the_largest_coordinates_are_masked_by_hand() -> None:
    update = torch.tensor([0.1, -5.0, 0.0, 3.0, -0.2, 4.0, 0.3, 0.4, -0.5, 1.0])
    assert neurotoxin.free_coordinates(update, 0.3).tolist() == [1, 0, 1, 0, 1, 0, 1, 1, 1, 1]
    assert neurotoxin.free_coordinates(update, 0.0).tolist() == [1] * 10
    assert neurotoxin.free_coordinates(update, 1.0).tolist() == [0] * 10
    assert neurotoxin.free_coordinates(update, 0.25).sum() == 8  # the authors' code masks one more: 10 - int(0.75 * 10)


def test_neurotoxin_leaves_masked_coordinates_and_honest_clients_alone() -> None:
    federation, flat = small_federation(local_epochs=1, batch_size=8, momentum=0.0, lr=0.1)
    previous = torch.randn(flat.num_params, generator=torch.Generator().manual_seed(2))
    everyone = (0, 1, 2, 3)
    masked = torch.zeros(flat.num_params, dtype=torch.bool)
    masked[previous.abs().argsort(descending=True)[: int(0.25 * flat.num_params)]] = True
    plain = federation.train(flat, 2, everyone, make("badnets"), previous).deltas
    attacked = federation.train(flat, 2, everyone, make("neurotoxin", masked=0.25), previous).deltas
    for client in everyone:
        if client in federation.malicious:
            assert (attacked[client][masked] == 0).all()
            assert (plain[client][masked] != 0).any()
            assert torch.equal(attacked[client][~masked], plain[client][~masked])  # one step: the same gradient
        else:
            assert torch.equal(attacked[client], plain[client])


def test_neurotoxin_with_momentum_over_many_steps_and_without_history() -> None:
    federation, flat = small_federation(local_epochs=3, batch_size=4, momentum=0.9, lr=0.05)
    previous = torch.randn(flat.num_params, generator=torch.Generator().manual_seed(2))
    bad = federation.malicious
    free = neurotoxin.free_coordinates(previous, 0.05).bool()
    attacked = federation.train(flat, 2, bad, make("neurotoxin"), previous).deltas
    assert (attacked[:, ~free] == 0).all()
    assert (attacked[:, free] != 0).float().mean() > 0.5
    first = federation.train(flat, 1, bad, make("neurotoxin"), None).deltas
    assert torch.equal(first, federation.train(flat, 1, bad, make("badnets"), None).deltas)


# --- model replacement -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attackers", [1, 2])
def test_averaging_puts_the_attackers_model_in_place(attackers: int) -> None:
    federation, flat = small_federation(local_epochs=1, batch_size=8, lr=0.05)
    bad = federation.malicious[:attackers]
    honest = [c for c in range(4) if c not in federation.malicious]
    attack = make("model-replacement")
    updates = federation.train(flat, 1, (*bad, *honest), attack)
    updates.deltas[attackers:] = 0  # honest clients that have converged
    models = flat.params + updates.deltas[:attackers]
    federation.craft(updates, flat, 1, attack)
    fedavg = create_defense(choose("defense", "fedavg"), ServerContext(10, (), (0, 0, 0), (1, 1, 1)))
    result = flat.params + fedavg.aggregate(updates, RoundContext(1)).delta
    torch.testing.assert_close(result, models.mean(0), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(result, flat.params, atol=1e-4)


def test_gamma_and_bound_by_hand() -> None:
    federation, flat = small_federation(local_epochs=1, batch_size=8, lr=0.05)
    bad = federation.malicious[:1]
    trained = federation.train(flat, 1, bad, make("badnets")).deltas
    norm = float(trained.norm())
    for options, factor in (
        ({"gamma": 3.0}, 3.0),
        ({"gamma": 3.0, "bound": 2 * norm}, 2.0),
        ({"gamma": 1.0, "bound": 2 * norm}, 1.0),  # shorter than the bound: as it is
    ):
        attack = make("model-replacement", **options)
        updates = federation.train(flat, 1, bad, attack)
        federation.craft(updates, flat, 1, attack)
        torch.testing.assert_close(updates.deltas, factor * trained)


def test_constraint_is_the_gradient_of_the_constrained_loss() -> None:
    stream = torch.Generator().manual_seed(0)
    start, x = (torch.randn(12, generator=stream, dtype=torch.float64) for _ in range(2))
    images, labels = torch.randn(5, 4, generator=stream, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])

    def gradient(alpha: float) -> Tensor:
        w = x.clone().requires_grad_()
        loss = alpha * F.cross_entropy(images @ w.view(4, 3), labels) + (1 - alpha) * (w - start).norm()
        return torch.autograd.grad(loss, w)[0]

    for alpha in (0.0, 0.3, 0.9):
        rule = make("model-replacement", alpha=alpha).gradient_rule(LocalContext(1, start, None))
        assert rule is not None
        torch.testing.assert_close(rule(gradient(1.0), x), gradient(alpha))
        torch.testing.assert_close(rule(gradient(1.0), start), alpha * gradient(1.0))  # no distance, no pull
    assert make("model-replacement").gradient_rule(LocalContext(1, start, None)) is None


def test_constraint_keeps_the_model_near() -> None:
    federation, flat = small_federation(local_epochs=4, batch_size=4, lr=0.05)
    bad = federation.malicious
    norms = [
        float(federation.train(flat, 1, bad, make("model-replacement", alpha=a)).deltas.norm()) for a in (1.0, 0.6, 0.2)
    ]
    assert norms[0] > norms[1] > norms[2]
    assert isinstance(make("model-replacement"), model_replacement.ModelReplacement)


# --- whole cells -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.mktemp("cell"), "cache", "warmup")


cell = partial(small_cell, local_epochs=1, warmup_rounds=2)


def numbers(result: CellResult) -> list[dict[str, str]]:
    rows = [*result.history, result.final]
    return [{k: repr(v) for k, v in row.items() if not k.startswith("seconds")} for row in rows]


def test_cells_run_and_differ_from_badnets(env: Environment) -> None:
    plain = run_cell(cell(attack="badnets"), env)
    results = {
        attack: run_cell(cell(attack=attack), env) for attack in ("afa", "layer", "model-replacement", "neurotoxin")
    }
    for attack, result in results.items():
        assert numbers(result)[0] == numbers(plain)[0], attack  # nothing has happened yet
        assert numbers(result) != numbers(plain), attack
    assert plain.history[1]["asr"] < 0.4
    assert results["model-replacement"].history[1]["asr"] > 0.6  # one round is enough
    assert numbers(results["neurotoxin"])[1] == numbers(plain)[1]  # nothing to mask by yet


@pytest.mark.parametrize("attack", ["layer[check=flame]", "neurotoxin[trigger=dba]"])
def test_a_cell_is_bit_identical_when_repeated(env: Environment, attack: str) -> None:
    one = cell(attack=attack, local_epochs=1, warmup_rounds=0)
    assert numbers(run_cell(one, env)) == numbers(run_cell(one, env))


def test_attackers_see_how_far_the_global_model_moved(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[LocalContext] = []

    def spy(self: Attack, context: LocalContext) -> None:
        seen.append(replace(context, global_params=context.global_params.clone()))

    monkeypatch.setattr(neurotoxin.Neurotoxin, "gradient_rule", spy)
    run_cell(cell(attack="neurotoxin", rounds=4, attack_start=2, warmup_rounds=0, local_epochs=1), env)
    assert [c.round for c in seen] == [2, 3, 4]
    assert seen[0].previous_update is not None  # it was an ordinary client before
    for before, after in pairwise(seen):
        assert after.previous_update is not None
        assert torch.equal(after.previous_update, after.global_params - before.global_params)
    seen.clear()
    run_cell(cell(attack="neurotoxin", rounds=1, warmup_rounds=0), env)
    assert [c.previous_update for c in seen] == [None]
