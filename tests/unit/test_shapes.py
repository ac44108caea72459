"""Attacks and defenses that hand back the wrong shape: torch would stretch it, and the cell would measure something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from makers.updates import ROUND, SERVER, updates_of
from torch import Tensor

from clipfed_bench.api import Aggregate, Attack, AttackContext, ClientUpdates, Defense, RoundContext
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.aggregation import aggregate_updates
from clipfed_bench.simulator.evaluate import make_test_sets
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.local import Hyper
from clipfed_bench.simulator.sampling import malicious_clients
from clipfed_bench.toolbox.images import Images, Normalizer

PLAIN = Normalizer((0.5,) * 3, (0.25,) * 3)
DELTAS = [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0]]


class Mean(Defense):
    """With a part of its result replaced by ``config``."""

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        kept = torch.ones(len(updates), dtype=torch.bool)
        return replace(updates.mean(updates.num_samples, kept), **self.config)


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ({"delta": torch.zeros(())}, r"the delta of Mean.aggregate has the shape \(\); it has to be \(3,\)"),
        ({"delta": torch.zeros(1, 3)}, r"the delta of Mean.aggregate has the shape \(1, 3\); it has to be \(3,\)"),
        ({"buffers": torch.zeros(1)}, r"gives as buffers has the shape \(1,\); it has to be \(2,\)"),
        ({"kept": torch.ones(1).bool()}, r"gives as kept has the shape \(1,\); it has to be \(3,\)"),
        ({"kept": torch.ones(3).byte()}, "gives as kept has the dtype uint8; it has to be bool"),
    ],
)
def test_defenses(part: dict[str, Tensor], what: str) -> None:
    with pytest.raises(UserError, match=what):
        aggregate_updates(Mean(part, SERVER), updates_of(DELTAS), ROUND)


def test_what_is_kept_has_an_entry_for_each_finite_client() -> None:
    updates = updates_of([*DELTAS, [float("nan"), 0.0, 0.0]])
    result, judged = aggregate_updates(Mean({"kept": torch.ones(3).bool()}, SERVER), updates, ROUND)
    assert result.kept is not None
    assert (result.kept.tolist(), judged) == ([True, True, True], (0, 1, 2))
    with pytest.raises(UserError, match=r"has the shape \(4,\); it has to be \(3,\)"):
        aggregate_updates(Mean({"kept": torch.ones(4).bool()}, SERVER), updates, ROUND)


class Changed(Attack):
    """Leaves all as it is, but for the method that ``config`` replaces."""

    def __init__(self, **methods: Any) -> None:
        super().__init__(methods, AttackContext(0, 10, (3, 32, 32), 1.0, 0))
        vars(self).update(methods)

    def trigger(self, images: Tensor) -> Tensor:
        return images


def federation() -> tuple[Federation, FlatModel]:
    spec = CellSpec(dataset="digits", model="resnet18", clients=4, clients_per_round=4, malicious=0.5, batch_size=2)
    clients = [Images(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.arange(2)) for _ in range(4)]
    model, hyper = build_model("resnet18", 10, 0), Hyper(1, 2, 0.01, 0.0, 0.0)
    executor = Executor(model, PLAIN, hyper)
    return Federation(spec, clients, malicious_clients(spec), PLAIN, hyper, executor), FlatModel(model)


@pytest.mark.parametrize(
    ("methods", "what"),
    [
        ({"craft": lambda updates, context: updates[0]}, "what Changed.craft gives has the shape"),
        ({"craft": lambda updates, context: updates[:1]}, "what Changed.craft gives has the shape"),
        ({"craft_buffers": lambda context: context.buffers[0]}, "what Changed.craft_buffers gives has the shape"),
    ],
)
def test_uploads(methods: dict[str, Any], what: str) -> None:
    federated, flat = federation()
    rows = torch.zeros(4, flat.num_params)
    updates = replace(updates_of(rows), buffers=torch.zeros(4, flat.num_buffers), global_params=flat.params)
    with pytest.raises(UserError, match=what):
        federated.craft(updates, flat, 1, Changed(**methods))
    assert not rows.any()


def test_gradient_rules() -> None:
    federated, flat = federation()
    attack = Changed(gradient_rule=lambda context: lambda gradient, params: gradient.mean())
    with pytest.raises(
        UserError, match=r"what the attack's gradient rule gives has the shape \(\); it has to be \(111"
    ):
        federated.train(flat, 1, (0, 1, 2, 3), attack)


def test_triggers() -> None:
    test = Images(torch.zeros(6, 3, 32, 32, dtype=torch.uint8), torch.arange(6))
    fewer = Changed(trigger=lambda images: images[1:])
    with pytest.raises(
        UserError, match=r"what Changed.trigger gives has the shape \(4, 3, 32, 32\); it has to be \(5,"
    ):
        make_test_sets(test, fewer, PLAIN)
