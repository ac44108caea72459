"""3DFed: what is uploaded in a round, what the next global model tells of it, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from makers.attacks import TARGET, make
from makers.crafting import LAYERS, crafting, params
from makers.federations import small_federation
from makers.images import random_images
from torch import Tensor, nn

from attacks.threedfed import ThreeDFed, decoy_loss
from clipfed_bench.api import Attack, ClientUpdates, LocalModel
from clipfed_bench.core.errors import UserError
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.federation import Federation

ALL = (0, 1, 2, 3, 4)
WEIGHT, BIAS = LAYERS["classifier.weight"], LAYERS["classifier.bias"]


def threedfed(**options: Any) -> ThreeDFed:
    attack = make("threedfed", **options)
    assert isinstance(attack, ThreeDFed)
    return attack


def output(update: Tensor) -> np.ndarray:
    """(10, 5), weights and bias of each neuron."""
    return torch.cat([update[WEIGHT].view(10, 4), update[BIAS][:, None]], dim=1).double().numpy()


def test_uploads_are_the_first_update_but_for_masked_neurons_and_one_parameter() -> None:
    updates, honest = params(1, 0.1, 4), params(2, 0.3)
    context = crafting(clients=(1, 4, 7, 9), honest=lambda client: LocalModel(honest * (client == 1), torch.ones(3)))
    crafted = threedfed(group=2, neurons=3, least=0.5).craft(updates, context)
    base = updates[0] * float(honest.norm() / updates[0].norm())
    assert 1 < float(honest.norm() / updates[0].norm()) < 5
    for rows in (crafted[:2], crafted[2:]):  # two groups
        masks = np.stack([output(row - base) for row in rows])
        masked = np.flatnonzero(np.abs(masks).sum(axis=(0, 2)) > 1e-5)
        assert len(masked) == 3
        assert TARGET not in masked
        assert np.linalg.norm(masks.sum(axis=0)) < 0.5 * np.linalg.norm(masks, axis=(1, 2)).sum()
    places = [int(np.flatnonzero((row - base)[:16].abs() > 1e-5)[0]) for row in crafted]
    assert len(set(places)) == 4
    assert max(places) < 12  # in the hidden matrix
    size = updates[0].abs() * float(honest.norm() / updates[0].norm()) + honest.abs()
    for row, place in zip(crafted, places, strict=True):
        assert abs(float(row[place])) == pytest.approx(
            min(1e5 * abs(float(base[place])), 0.3 * float(row.norm())), rel=0.1
        )
        assert size[place] <= size[:12].sort().values[-1]
    assert torch.equal(updates, params(1, 0.1, 4))


def test_the_constants_of_the_code_are_an_option() -> None:
    updates = params(1, 0.1, 2)
    crafted = threedfed(scaled=False).craft(updates, crafting())
    place = int((crafted[0] - updates[0])[:12].abs().argmax())
    assert float(crafted[0, place]) == pytest.approx(1e5 * float(updates[0, place]))


def test_the_loss_of_a_decoy_by_its_formula() -> None:
    model = nn.Module()
    model.classifier = nn.Linear(4, 10)  # type: ignore[assignment]
    images, labels = params(5, count=6)[:, :4], torch.arange(6)
    for wanted in (0.5, 20.0):
        loss = decoy_loss(torch.tensor(7), torch.tensor(wanted))
        weight = float(model.classifier.weight[1, 3].detach())
        model.forward = model.classifier.forward  # type: ignore[method-assign]
        away = abs(weight - wanted)
        expected = ((1e-10 if away > 10 else -10) * away + float(F.cross_entropy(model(images), labels).detach())) / 2
        assert float(loss(model, images, labels).detach()) == pytest.approx(expected, rel=1e-5)


# --- a federation in which nobody else moves what it looks at ---------------------------------------------------------


class World:
    """Five clients with the same images, two of them malicious; a server that takes whom it is told to."""

    def __init__(self, attack: Attack) -> None:
        small, self.flat = small_federation(local_epochs=2, batch_size=4, lr=0.05, momentum=0.9)
        self.federation: Federation = replace(
            small, clients=[random_images(8, 0, torch.arange(8))] * 5, malicious=(1, 3)
        )
        self.attack = attack

    def play(self, round_: int, taken: tuple[int, ...]) -> ClientUpdates:
        updates = self.federation.train(self.flat, round_, ALL, self.attack)
        self.federation.craft(updates, self.flat, round_, self.attack)
        mean = updates.deltas[list(taken)].mean(dim=0)
        self.flat = FlatModel(self.flat.model)
        self.flat.params += mean
        return updates


def energies(world: World, delta: Tensor) -> np.ndarray:
    """DeepSight's, of the neurons of the output layer."""
    weight, bias = (delta[world.flat.layers[f"classifier.{name}"]].view(10, -1) for name in ("weight", "bias"))
    return ((weight.abs().sum(dim=1) + bias.abs().sum(dim=1)) ** 2).double().numpy()


def test_rejection_brings_a_decoy_and_acceptance_takes_it_away() -> None:
    attack = threedfed(threshold=0.05)  # shares are a quarter and a fifth
    world = World(attack)
    world.play(1, taken=(0, 2, 4))
    [first] = attack._tuning.shares
    second = world.play(2, taken=(0, 2, 3, 4))
    assert attack._tuning.decoys == 1
    assert attack._tuning.shares != (first,)
    honest = world.federation.train(world.flat, 2, (1,), None).deltas[0]
    place = world.flat.layers["classifier.weight"]
    decoy = second.deltas[3]
    assert float((decoy - honest)[place].abs().max()) > 5 * float((second.deltas[1] - honest)[place].abs().max())
    world.play(3, taken=ALL)
    assert attack._tuning.decoys == 0
    kept = attack._tuning.shares
    world.play(4, taken=ALL)
    assert (attack._tuning.shares, attack._tuning.decoys, attack._tuning.noisy) == (kept, 0, False)


def test_masked_neurons_have_energies_like_the_target_s() -> None:
    attack = threedfed(neurons=9, least=0.5)
    world = World(attack)
    plain = world.federation.train(world.flat, 1, (1,), attack).deltas[0]
    before = energies(world, plain)
    after = energies(world, world.play(1, taken=(0,)).deltas[1])
    others = [k for k in range(10) if k != TARGET]
    assert np.median(before[others]) < 0.1 * before[TARGET]  # DeepSight's threshold
    assert np.median(after[others]) > 0.1 * after[TARGET]


def test_a_server_s_noise_ends_the_tuning() -> None:
    attack = threedfed(least=0.25)
    world = World(attack)
    world.play(1, taken=ALL)
    world.flat.params += 0.5
    world.play(2, taken=ALL)
    assert (attack._tuning.shares, attack._tuning.decoys, attack._tuning.noisy) == ((0.25,), 0, True)
    world.play(3, taken=ALL)
    assert attack._tuning.noisy


def test_what_it_remembers_is_what_another_instance_goes_on_from() -> None:
    one, other, forgetful = threedfed(), threedfed(), threedfed()
    assert one.state() == {}
    updates = params(1, 0.1, 2)
    one.craft(updates, crafting())
    other.load_state(one.state())
    later = crafting(round=2, global_params=params(3, 0.01))
    expected = one.craft(updates, later)
    assert torch.equal(other.craft(updates, later), expected)
    assert not torch.equal(forgetful.craft(updates, later), expected)


def test_one_malicious_client_has_no_decoy_and_a_mask_of_its_own() -> None:
    attack = threedfed()
    context = crafting(clients=(4,))
    for round_ in (1, 2, 3):  # nothing is ever accepted
        crafted = attack.craft(params(1, 0.1, 1), replace(context, round=round_))
        assert crafted.isfinite().all()
        assert attack._tuning.decoys == 0


def test_updates_of_zeros_stay_finite() -> None:
    nothing = torch.zeros(66)
    context = crafting(honest=lambda client: LocalModel(nothing, torch.ones(3)))
    crafted = threedfed().craft(torch.zeros(2, 66), context)
    assert crafted.isfinite().all()
    assert crafted.abs().max() < 1e-3


def test_training_is_held_near_the_global_model() -> None:
    context = World(threedfed())
    plain = context.federation.train(context.flat, 1, (1,), make("badnets")).deltas.norm()
    held = context.federation.train(context.flat, 1, (1,), threedfed()).deltas.norm()
    free = context.federation.train(context.flat, 1, (1,), threedfed(constraint=0.0)).deltas.norm()
    assert held < plain
    assert free == pytest.approx(float(plain), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"group": 0}, "group 0"),
        ({"neurons": 0}, "neurons 0"),
        ({"stretch": 0.5}, r"stretch 0\.5"),
        ({"constraint": 1.0}, r"constraint 1\.0"),
        ({"least": -0.1}, r"least -0\.1"),
        ({"threshold": 0.0}, r"threshold 0\.0"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=f"threedfed: {text}"):
        make("threedfed", **options)
