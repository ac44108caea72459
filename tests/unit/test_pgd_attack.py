"""PGD by its projection in float64, step by step, and by the norm of what it uploads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from makers.attacks import make
from makers.federations import small_federation

from attacks import pgd
from clipfed_bench.api import LocalContext
from clipfed_bench.core.errors import UserError


def test_projection_by_hand() -> None:
    draw = np.random.default_rng(0)
    center, params = draw.normal(size=50), draw.normal(size=50)
    far = float(np.linalg.norm(params - center))
    for radius in (0.1, far / 2, far * 0.999, far * 1.001, 1e3):
        expected = center + (params - center) * min(1.0, radius / far)
        found = pgd.project(torch.tensor(params).float(), torch.tensor(center).float(), radius)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
    same = torch.ones(5)
    assert torch.equal(pgd.project(same, same, 1.0), same)  # no direction, no division by zero


def test_each_step_is_projected_and_honest_clients_are_left_alone() -> None:
    federation, flat = small_federation(local_epochs=3, batch_size=4, momentum=0.0, lr=0.1)
    everyone, bad = (0, 1, 2, 3), federation.malicious
    plain = federation.train(flat, 1, everyone, make("badnets")).deltas
    norms = torch.linalg.vector_norm(plain, dim=1)
    radius = float(norms.min()) / 3
    found = federation.train(flat, 1, everyone, make("pgd", radius=radius)).deltas
    for client in everyone:
        if client in bad:
            assert torch.linalg.vector_norm(found[client]) == pytest.approx(radius, rel=1e-5)
            assert not torch.allclose(found[client], plain[client] * radius / norms[client], rtol=1e-3, atol=1e-6)
        else:
            assert torch.equal(found[client], plain[client])
    wide = federation.train(flat, 1, bad, make("pgd", radius=1e6)).deltas
    assert torch.equal(wide, plain[list(bad)])


def test_one_step_is_the_projected_step_of_badnets() -> None:
    federation, flat = small_federation(local_epochs=1, batch_size=8, momentum=0.0, lr=0.1)
    bad = federation.malicious[:1]
    plain = federation.train(flat, 1, bad, make("badnets")).deltas.double()
    found = federation.train(flat, 1, bad, make("pgd", radius=0.01)).deltas.double()
    torch.testing.assert_close(found, plain * (0.01 / plain.norm()), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("radius", [0.0, -1.0])
def test_a_ball_needs_a_radius(radius: float) -> None:
    with pytest.raises(UserError, match="leaves no update"):
        make("pgd", radius=radius)


def test_others_have_no_such_rule() -> None:
    assert make("badnets").parameter_rule(LocalContext(1, torch.zeros(3), None)) is None
