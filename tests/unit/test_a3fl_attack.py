"""A3FL by a slow reference in float64, and in cells: its trigger changes, is kept when a cell stops, and works."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from makers.adapting import BATCH, COUNT, ROUND, SEED, SHAPE, adapting, cross_entropy, network
from makers.attacks import TARGET, context, make
from makers.images import noise
from makers.specs import environment, small_cell
from miniature import miniature
from torch import Tensor, nn

from attacks import a3fl
from clipfed_bench.core.errors import UserError
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.evaluate import evaluate
from clipfed_bench.toolbox.rng import generator


def attack(**options: Any) -> a3fl.A3FL:
    return a3fl.A3FL(a3fl.Config(size=2, row=1, col=3, **options), context(shape=SHAPE))


def reference(epochs: int, step: float, every: int, unlearn: int, lr: float, balance: float) -> Tensor:
    """The module's two lines, one image and one parameter after the other, in float64."""
    images, labels = noise(COUNT, *SHAPE).double(), torch.arange(COUNT)
    model, square = network(torch.float64), torch.full((3, 2, 2), 0.5, dtype=torch.float64)
    stream = generator(SEED, "a3fl", ROUND)
    hardened, weight = None, 0.0

    def put(image: Tensor, patch: Tensor) -> Tensor:
        out = image.clone()
        out[:, 1:3, 3:5] = patch
        return out

    def loss(net: nn.Module, index: Tensor, patch: Tensor, truth: Tensor) -> Tensor:
        return cross_entropy(net(torch.stack([put(images[i], patch) for i in index.tolist()])), truth[index])

    for epoch in range(epochs):
        if epoch > 0 and epoch % every == 0 and unlearn:
            hardened, velocity = copy.deepcopy(model), {}
            for _ in range(unlearn):
                for index in torch.split(torch.randperm(COUNT, generator=stream), BATCH):
                    slopes = torch.autograd.grad(loss(hardened, index, square, labels), [*hardened.parameters()])
                    for k, (p, slope) in enumerate(zip(hardened.parameters(), slopes, strict=True)):
                        velocity[k] = 0.9 * velocity.get(k, 0) + slope + 5e-4 * p.data
                        p.data = p.data - lr * velocity[k]
            one, two = (torch.cat([p.data.flatten() for p in net.parameters()]) for net in (hardened, model))
            weight = float(one @ two / (one.norm() * two.norm()))
        for index in torch.split(torch.randperm(COUNT, generator=stream), BATCH):
            free, target = square.clone().requires_grad_(), torch.full((COUNT,), TARGET)
            total = loss(model, index, free, target)
            if hardened is not None:
                total = total + balance * weight * loss(hardened, index, free, target)
            square = (square - step * torch.autograd.grad(total, free)[0].sign()).clamp(0, 1)
    return square


@pytest.mark.parametrize(
    "options", [{}, {"unlearn_epochs": 0}, {"unlearn_every": 1, "balance": 5.0, "unlearn_lr": 0.1}]
)
def test_the_trigger_by_the_two_lines_of_the_method(options: dict[str, Any]) -> None:
    one = attack(epochs=4, step=0.07, **options)
    before = one.trigger(noise(3, *SHAPE))
    one.adapt(adapting())
    given = one.config
    expected = reference(4, 0.07, given.unlearn_every, given.unlearn_epochs, given.unlearn_lr, given.balance)
    torch.testing.assert_close(one.state()["square"].double(), expected, rtol=0, atol=1e-6)
    after = one.trigger(noise(3, *SHAPE))
    assert torch.equal(after[0, :, 1:3, 3:5], one.state()["square"])
    changed = (after != before).any(0).any(0).nonzero().tolist()
    assert {tuple(place) for place in changed} == {(row, col) for row in (1, 2) for col in (3, 4)}


def test_the_model_is_left_alone_and_the_same_draw_gives_the_same_trigger() -> None:
    model = network()
    before = [p.clone() for p in model.parameters()]
    one, two = attack(epochs=2), attack(epochs=2)
    for each in (one, two):
        each.adapt(adapting(model=lambda: copy.deepcopy(model)))
    assert torch.equal(one.state()["square"], two.state()["square"])
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_it_goes_on_from_the_round_before_and_from_a_state() -> None:
    whole, stopped = attack(epochs=2), attack(epochs=2)
    for each in (whole, stopped):
        each.adapt(adapting())
    resumed = attack(epochs=2)
    resumed.load_state(stopped.state())
    for each in (whole, resumed):
        each.adapt(adapting(round=5))
    assert torch.equal(whole.state()["square"], resumed.state()["square"])
    assert not torch.equal(whole.state()["square"], stopped.state()["square"])


def test_others_borrow_it() -> None:
    borrowed = make("pgd", trigger="a3fl[epochs=1]")
    assert borrowed.adaptive
    images = noise(3, 3, 32, 32)
    before = borrowed.trigger(images)
    borrowed.adapt(adapting(images=lambda client: (images, torch.arange(3)), model=lambda: network(pixels=3072)))
    assert not torch.equal(borrowed.trigger(images), before)
    other = make("pgd", trigger="a3fl")
    other.load_state(borrowed.state())
    assert torch.equal(other.trigger(images), borrowed.trigger(images))
    assert not make("pgd").adaptive


def test_asr_is_that_of_the_trigger_as_it_is(tmp_path: Path) -> None:
    """One round: a trigger that is fitted to the model succeeds more often than the one that it began with."""
    cell = small_cell(attack="a3fl[epochs=5,step=0.1]", rounds=1, malicious=0.2, warmup_rounds=2, lr=0.1)
    seen: list[Tensor] = []
    with miniature(evaluate, train=4, test=4), pytest.MonkeyPatch.context() as patch:
        made = CellSetup.new_test_sets
        patch.setattr(CellSetup, "new_test_sets", lambda self: seen.append((sets := made(self)).triggered) or sets)
        found = run_cell(cell, environment(tmp_path, "warmup"))
    assert len(seen) == 3  # for the setup, before round 1, and after it
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert found.final["asr"] > found.history[0]["asr"] + 0.2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 30, "row": 3}, "row 3"),
        ({"epochs": 0}, "epochs 0 is too few; it is 1 or more"),
        ({"unlearn_epochs": -1}, "unlearn_epochs -1 is too few; it is 0 or more"),
        ({"step": 0.0}, "step 0.0 changes no pixel"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make("a3fl", **options)
