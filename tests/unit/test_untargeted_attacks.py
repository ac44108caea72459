"""Untargeted attacks against their formulas in float64, at the edges, and in cells, where they have no ASR."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from makers.attacks import context, make
from makers.frames import cell, frame
from makers.specs import environment, small_cell
from miniature import miniature
from torch import Tensor

from attacks import alie, label_flip
from clipfed_bench.api import CraftContext, LocalModel
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.tables.table import table
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import evaluate
from clipfed_bench.toolbox.distances import median

SIZE = 40
CRAFTED = ("alie", "ipm", "min-max", "sign-flip")


def honest(client: int) -> Tensor:
    """What a malicious client would upload if it were honest: alike in the main, and scattered."""
    draw = np.random.default_rng(client).normal(size=SIZE) * np.linspace(0.1, 2, SIZE)
    return torch.tensor(np.cos(np.arange(SIZE)) + draw, dtype=torch.float32)


def crafting(clients: tuple[int, ...], colluders: tuple[int, ...], participants: int = 10, **more: Any) -> CraftContext:
    given: dict[str, Any] = {"round": 1, "layers": {}}
    given |= dict.fromkeys(("trained", "others", "images", "model", "validation", "logits"))
    given |= {"global_params": torch.zeros(SIZE), "buffers": torch.ones(len(clients), 2)}
    given |= {"honest": lambda client: LocalModel(honest(client), torch.ones(2))} | more
    return CraftContext(clients=clients, colluders=colluders, participants=participants, **given)


def craft(name: str, clients: tuple[int, ...], colluders: tuple[int, ...], **options: Any) -> Tensor:
    """What the attack uploads for ``clients``."""
    updates = torch.stack([honest(client) for client in clients])
    return make(name, **options).craft(updates, crafting(clients, colluders))


def known(*clients: int) -> np.ndarray:
    return np.stack([honest(client).double().numpy() for client in clients])


def check(found: Tensor, expected: np.ndarray) -> None:
    for row in found:
        np.testing.assert_allclose(row.numpy(), expected, rtol=2e-5, atol=2e-6)


# --- formulas --------------------------------------------------------------------------------------------------------


def test_sign_flip_reverses_each_update() -> None:
    found = craft("sign-flip", (3, 8), (3, 8), scale=4.0)
    np.testing.assert_allclose(found.numpy(), -4 * known(3, 8), rtol=1e-6)


def test_ipm_reverses_the_mean_of_what_malicious_clients_know() -> None:
    check(craft("ipm", (3, 8), (1, 3, 5, 8), epsilon=0.1, known=2), -0.1 * known(3, 8).mean(0))
    check(craft("ipm", (3, 8), (1, 3, 5, 8), epsilon=2.0, known=3), -2.0 * known(3, 8, 1).mean(0))
    check(craft("ipm", (3, 8), (1, 3, 5, 8), known=99), -0.5 * known(3, 8, 1, 5).mean(0))


def test_alie_by_algorithm_3() -> None:
    values = known(3, 8, 1)
    for z in (1.5, -0.3):
        moved = [sum(column) / 3 + z * math.sqrt(sum((column - sum(column) / 3) ** 2) / 3) for column in values.T]
        check(craft("alie", (3, 8), (1, 3, 5, 8), z=z, known=3), np.array(moved))


def test_largest_z_is_that_of_the_table() -> None:
    assert alie.largest_z(50, 12) == pytest.approx(NormalDist().inv_cdf(24 / 38))  # s = 26 - 12 = 14
    assert alie.largest_z(25, 11) == pytest.approx(NormalDist().inv_cdf(12 / 14))  # s = 13 - 11 = 2
    for clients, malicious, says in ((10, 2, "not above 0"), (4, 3, "a majority"), (1, 1, "a majority")):
        with pytest.raises(UserError, match=says):
            alie.largest_z(clients, malicious)
    with pytest.raises(UserError, match="give z"):
        craft("alie", (3, 8), (3, 8), z=None)


def searched(values: np.ndarray, direction: np.ndarray, bound: str) -> np.ndarray:
    """The paper's Algorithm 1: gamma grows and shrinks by halving steps."""
    apart = ((values[:, None] - values[None]) ** 2).sum(2)
    limit = apart.max() if bound == "max" else apart.sum(1).max()
    gamma = step = 50.0
    reached = 0.0
    for _ in range(60):
        from_each = ((values.mean(0) + gamma * direction - values) ** 2).sum(1)
        step /= 2
        if (from_each.max() if bound == "max" else from_each.sum()) <= limit:
            reached, gamma = gamma, gamma + step
        else:
            gamma -= step
    return values.mean(0) + reached * direction


@pytest.mark.parametrize("bound", ["max", "sum"])
@pytest.mark.parametrize("perturbation", ["std", "unit", "sign"])
def test_min_max_by_the_search_of_algorithm_1(bound: str, perturbation: str) -> None:
    values = known(3, 8, 1, 5)
    mean = values.mean(0)
    direction = {"std": -values.std(0), "unit": -mean / np.linalg.norm(mean), "sign": -np.sign(mean)}[perturbation]
    found = craft("min-max", (3, 8), (1, 3, 5, 8), bound=bound, perturbation=perturbation)
    check(found, searched(values, direction, bound))


def test_labels_are_mirrored() -> None:
    images, labels = torch.rand(5, 3, 4, 4), torch.tensor([0, 9, 4, 5, 2])
    for ratio, count, expected in (
        (1.0, None, [9, 0, 5, 4, 7]),
        (0.4, None, [9, 0, 4, 5, 2]),
        (0.4, 3, [9, 0, 5, 5, 2]),
    ):
        out, found = label_flip.LabelFlip(label_flip.Config(), context(ratio)).poison(images, labels, 0, count)
        assert found.tolist() == expected
        assert out is images


# --- edges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CRAFTED)
def test_updates_that_are_equal_or_zero(name: str) -> None:
    for value in (0.0, 0.25):
        updates = torch.full((3, SIZE), value)
        given = crafting((1, 2, 3), (1, 2, 3))
        found = make(name).craft(updates, given)
        factor = {"sign-flip": -1.0, "ipm": -0.5}.get(name, 1.0)  # without deviation nothing is moved
        assert torch.equal(found, factor * updates)


@pytest.mark.parametrize("name", CRAFTED)
def test_one_attacker_and_only_attackers(name: str) -> None:
    if name in ("alie", "min-max"):
        with pytest.raises(UserError, match="two malicious clients are needed"):
            craft(name, (3,), (3,))
    else:
        assert torch.isfinite(craft(name, (3,), (3,))).all()
    assert craft(name, (3,), (3, 8), **({} if name == "sign-flip" else {"known": 1})).shape == (1, SIZE)
    everyone = tuple(range(10))
    found = craft(name, everyone, everyone)
    assert found.shape == (10, SIZE)
    assert torch.isfinite(found).all()


def test_min_max_stays_within_the_cloud_of_huge_and_tiny_updates() -> None:
    for scale in (1e-8, 1e6):
        updates = scale * torch.stack([honest(client) for client in range(4)])
        found = make("min-max").craft(updates, crafting((0, 1, 2, 3), (0, 1, 2, 3)))[0].double()
        apart = torch.cdist(updates.double(), updates.double()).max()
        assert torch.linalg.vector_norm(found - updates.double(), dim=1).max() == pytest.approx(float(apart), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("sign-flip", {"scale": 0.0}, "scale 0.0 reverses nothing"),
        ("ipm", {"epsilon": -1.0}, "epsilon -1.0 reverses nothing"),
        ("ipm", {"known": 0}, "known 0 is not a number of malicious clients"),
        ("alie", {"z": 0.0}, "z 0 moves nothing"),
        ("neurotoxin", {"trigger": "label-flip"}, "'label-flip' has no trigger of its own"),
        ("layer", {"trigger": "alie"}, "'alie' has no trigger of its own"),
    ],
)
def test_what_does_not_fit(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make(name, **options)


# --- effect ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), [("alie", {}), ("ipm", {}), ("min-max", {}), ("sign-flip", {})])
def test_the_median_of_a_round_is_led_away(name: str, options: dict[str, Any]) -> None:
    """Four of ten clients; honest updates lie around a common one, which the median of honest ones is near."""
    updates = torch.stack([honest(client) for client in range(10)])
    common = torch.cos(torch.arange(SIZE))
    found = updates.clone()
    found[:4] = make(name, **options).craft(updates[:4], crafting((0, 1, 2, 3), (0, 1, 2, 3)))
    off, usual = (torch.linalg.vector_norm(median(each) - common) for each in (found, updates))
    assert off > 1.2 * usual


def test_a_cell_has_no_asr_and_its_mta_falls(tmp_path: Path) -> None:
    spec = small_cell(attack="sign-flip[scale=8]", malicious=0.4, warmup_rounds=2, lr=0.1)
    with miniature(evaluate, train=4, test=4):
        found = run_cell(spec, environment(tmp_path, "warmup"))
    assert all(math.isnan(row["asr"]) for row in [*found.history, found.final])
    before, *_, after = (row["mta"] for row in found.history)
    assert after < before - 0.2
    assert found.final["attackers"] == 2


def test_a_table_of_both_kinds_says_what_has_no_asr() -> None:
    cells = [cell(0.6, 0.9), cell(0.3, None, attack="alie"), cell(0.2, None, attack="ipm", status="failed")]
    both = table(frame(*cells))
    assert "No ASR, for want of a trigger: alie; MTA tells the damage." in both.notes
    assert [text for text, *_ in both.texts(both.entry(("alie", 0.5), ("fedavg",)))] == ["30.00", "–"]
    for other in (table(frame(*cells), metrics=["mta"]), table(frame(cells[0]))):
        assert not any("trigger:" in note for note in other.notes)
