"""Bugs planted in three methods turn the regression red: cells of the nightly preset, made smaller, run for real."""

from __future__ import annotations

from dataclasses import replace

import pytest

from baselines import flame, krum
from clipfed_bench.clipfed import losses
from clipfed_bench.config.grid import load_preset, make_grid
from clipfed_bench.core.messages import Environment
from clipfed_bench.report.regression.compare import compare_with
from clipfed_bench.report.regression.reference import read_reference, write_reference
from clipfed_bench.runs.store import RunStore
from clipfed_bench.simulator.cell import run_cell


def nightly_cell(defense, clients, seed):
    (cell,) = (
        cell
        for cell in make_grid(load_preset("nightly")).cells
        if (cell.attack.name, str(cell.defense), cell.clients, cell.seed) == ("badnets", defense, clients, seed)
    )
    teacher = None if cell.teacher is None else "local[epochs=1]"
    return replace(cell, warmup_rounds=4, rounds=2, teacher=teacher)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return Environment(cache_dir=folder / "cache", warmup_dir=folder / "warmups")


@pytest.fixture(scope="module")
def healthy(environment):
    """What each cell comes to without a bug, run once."""
    found = {}

    def result(spec):
        if spec not in found:
            found[spec] = run_cell(spec, environment)
        return found[spec]

    return result


def one_neighbor_more(monkeypatch):
    scores = krum.krum_scores
    monkeypatch.setattr(krum, "krum_scores", lambda distances, malicious: scores(distances, malicious - 1))


def no_clipping(monkeypatch):
    aggregate = flame.Flame.aggregate

    def unclipped(self, updates, context):
        self.config = replace(self.config, clip=False)
        return aggregate(self, updates, context)

    monkeypatch.setattr(flame.Flame, "aggregate", unclipped)


def wrong_sign(monkeypatch):
    loss = losses.prototype_loss
    monkeypatch.setattr(losses, "prototype_loss", lambda *arguments: -loss(*arguments))


@pytest.mark.parametrize(
    ("defense", "clients", "seed", "plant"),
    [
        pytest.param("krum", 10, 2, None, id="krum as it is"),
        pytest.param("krum", 10, 2, one_neighbor_more, id="krum with n - f - 1 neighbors"),
        pytest.param("flame", 20, 0, no_clipping, id="flame without clipping"),
        pytest.param("clip-fed", 20, 0, wrong_sign, id="clip-fed with the sign of Eq. 3 turned"),
    ],
)
def test_a_planted_bug_is_a_regression(defense, clients, seed, plant, environment, healthy, monkeypatch, tmp_path):
    spec = nightly_cell(defense, clients, seed)
    before, after = RunStore(tmp_path / "before"), RunStore(tmp_path / "after")
    before.put(spec, healthy(spec))
    write_reference(tmp_path / "reference.parquet", before.frames()[0], "Before the bug.")
    if plant is not None:
        plant(monkeypatch)
    after.put(spec, run_cell(spec, environment))
    found = compare_with(read_reference(tmp_path / "reference.parquet"), after.frames()[0])
    assert (found.compared, found.exact) == (1, 1)
    assert found.passed is (plant is None)
    assert bool({move.figure for move in found.moves} & {"mta", "asr"}) is (plant is not None)
