"""The defense-aware attack: what it uploads by its formulas in float64, and that Krum selects it where it did not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from makers.attacks import make
from makers.crafting import SIZE, crafting
from makers.federations import small_federation
from makers.images import random_images
from torch import Tensor

from attacks import defense_aware
from clipfed_bench.api import CraftContext, LocalModel
from clipfed_bench.core.errors import UserError

BAD, GOOD = 2, 8


def draw(count: int, seed: int, shift: float = 0.0) -> Tensor:
    values = np.random.default_rng(seed).normal(size=(count, SIZE)) + shift
    return torch.tensor(values, dtype=torch.float32)


def around(honest: Tensor, copies: int = BAD) -> CraftContext:
    """A round with ``honest`` updates (N, 66) and malicious clients 0, 1, ... of four."""
    given: dict[str, Any] = {"clients": tuple(range(copies)), "colluders": (0, 1, 2, 3), "others": lambda: honest}
    given["honest"] = lambda client: LocalModel(draw(1, client)[0], torch.ones(3))
    return crafting(participants=copies + len(honest), **given)


def numpy(tensor: Tensor) -> np.ndarray:
    return tensor.double().numpy()


def picked(points: np.ndarray, malicious: int) -> int:
    """Krum's choice."""
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    near = max(1, len(points) - malicious - 2)
    return int(np.argmin([np.sort(np.delete(row, k))[:near].sum() for k, row in enumerate(squares)]))


def against_krum(updates: np.ndarray, honest: np.ndarray, depth: int = 10) -> np.ndarray:
    bad = len(updates)
    center = updates.mean(axis=0)

    def succeeds(one: np.ndarray) -> bool:
        return picked(np.concatenate([np.repeat(one[None], bad, axis=0), honest]), bad) < bad

    if succeeds(center):
        return center
    distances = np.linalg.norm(honest - center, axis=1)
    other = honest[np.argsort(distances)[: max(1, len(honest) - bad - 1)]].mean(axis=0)
    low, high, best = 0.0, 1.0, 0.0
    for _ in range(depth):
        middle = (low + high) / 2
        if succeeds(middle * center + (1 - middle) * other):
            low = best = middle
        else:
            high = middle
    return best * center + (1 - best) * other


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_against_krum_by_its_steps(shift: float, copies: int) -> None:
    for seed in range(3):
        updates, honest = draw(copies, seed, shift), draw(GOOD, 10 + seed)
        found = make("defense-aware").craft(updates, around(honest, copies))
        expected = against_krum(numpy(updates), numpy(honest))
        np.testing.assert_allclose(found, np.repeat(expected[None], copies, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 8, 9])
def test_beside_the_median_by_its_formula(count: int) -> None:
    updates = torch.cat([draw(BAD, 0, 2.0), draw(count, 1)])
    center, rows = numpy(updates[:BAD]).mean(axis=0), np.sort(numpy(updates), axis=0)
    n, shares = len(rows), []
    middle = np.median(rows, axis=0)
    low = rows[n // 2 - 1]
    high = rows[n // 2 + 1] if n % 2 else rows[n // 2]
    for m, c, left, right in zip(center, middle, low, high, strict=True):
        shares.append((right - c) / (m - c) if m > right else (c - left) / (c - m) if m < left else 1.0)
    s = np.quantile(shares, 0.7)
    found = make("defense-aware", defense="median").craft(updates[:BAD], around(updates[BAD:]))
    np.testing.assert_allclose(
        found, np.repeat((s * center + (1 - s) * middle)[None], BAD, axis=0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("bound", [None, 0.25])
def test_norms_are_those_of_the_bound(bound: float | None) -> None:
    updates, honest = draw(BAD, 0, 2.0), draw(GOOD, 1)
    updates[1] *= 0.01
    label = "norm-clip" if bound is None else f"norm-clip[bound={bound}]"
    found = make("defense-aware", defense=label).craft(updates, around(honest))
    norm = bound or float(np.median(np.linalg.norm(numpy(honest), axis=1)))
    unit = numpy(updates) / np.linalg.norm(numpy(updates), axis=1, keepdims=True)
    np.testing.assert_allclose(found, norm * unit, rtol=1e-5)
    assert not defense_aware.stretched(torch.zeros(1, SIZE), torch.tensor(2.0)).any()


def test_what_colluders_know_is_what_they_would_upload_themselves() -> None:
    updates = draw(BAD, 0, 3.0)
    found = make("defense-aware", knows="colluders").craft(updates, around(draw(GOOD, 1)))
    known = np.concatenate([numpy(draw(1, client)) for client in range(4)])
    np.testing.assert_allclose(found[0], against_krum(numpy(updates), known), rtol=1e-4, atol=1e-5)


def test_alone_or_diverged_it_uploads_what_it_has_learned() -> None:
    updates = draw(BAD, 0)
    assert torch.equal(make("defense-aware").craft(updates, around(updates[:0])), updates)
    updates[0, 0] = torch.inf
    found = make("defense-aware").craft(updates, around(draw(GOOD, 1)))
    assert torch.equal(found, updates.mean(dim=0).repeat(BAD, 1))


def test_krum_selects_it_with_its_backdoor_and_not_the_plain_one() -> None:
    """In a round of a federation, with the updates that its other clients really upload."""
    small, flat = small_federation(local_epochs=2, batch_size=4, lr=0.05, momentum=0.9)
    everyone = tuple(range(7))
    federation = replace(small, clients=[random_images(8, 0, torch.arange(8))] * len(everyone), malicious=(2, 5))
    updates = federation.train(flat, 1, everyone, make("badnets"))
    bad, rows = len(federation.malicious), list(federation.malicious)
    plain = numpy(updates.deltas)
    assert picked(plain, bad) not in rows
    federation.craft(updates, flat, 1, make("defense-aware"))
    crafted = numpy(updates.deltas)
    assert picked(crafted, bad) in rows
    assert np.array_equal(np.delete(crafted, rows, axis=0), np.delete(plain, rows, axis=0))
    center, honest = plain[rows].mean(axis=0), np.delete(plain, rows, axis=0).mean(axis=0)
    away = (crafted[rows[0]] - honest) @ (center - honest) / ((center - honest) @ (center - honest))
    assert away > 0.05  # on its way to the poisoned update


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"defense": "krumm"}, "unknown defense 'krumm'"),
        ({"defense": "fltrust"}, "'fltrust' needs what only the server has"),
        ({"knows": "nothing"}, "knows"),
        ({"depth": 0}, "depth 0 is too few"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        make("defense-aware", **options)


@pytest.mark.parametrize(("defense", "text"), [("fedavg", "selects no clients"), ("deepsight", "looks into models")])
def test_defenses_that_cannot_be_tried(defense: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        make("defense-aware", defense=defense).craft(draw(BAD, 0, 3.0), around(draw(GOOD, 1)))
