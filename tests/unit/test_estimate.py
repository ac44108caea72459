"""What the machine offers, and how long cells may take on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from makers.specs import cell

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.execution import machine
from clipfed_bench.execution.estimate import counted, make_estimate
from clipfed_bench.execution.jobs import plan
from clipfed_bench.execution.places import Places
from clipfed_bench.execution.session import Session
from clipfed_bench.simulator.manner import warmup_file

CPU = ("cpu", "float32")


def test_cores_respect_a_containers_quota(tmp_path):
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000\n")
    assert machine.cores(quota) == 1
    quota.write_text("50000 100000\n")
    assert machine.cores(quota) == 1
    quota.write_text("max 100000\n")
    unlimited = machine.cores(quota)
    assert unlimited == machine.cores(tmp_path / "absent") >= 1


def test_a_gpu_that_is_not_there_is_an_error_only_when_asked_for(monkeypatch):
    monkeypatch.setattr(machine, "_torch_sees_gpu", lambda: False)
    assert machine.resolve_device("auto") == machine.resolve_device("cpu") == "cpu"
    with pytest.raises(machine.UserError, match="no GPU"):
        machine.resolve_device("cuda")
    monkeypatch.setattr(machine, "_torch_sees_gpu", lambda: True)
    assert machine.resolve_device("auto") == machine.resolve_device("cuda") == "cuda"
    assert machine.resolve_device("cpu") == "cpu"


def test_counted_seconds_by_hand():
    spec = CellSpec(
        dataset="cifar10", model="cnn", clients=50, clients_per_round=5, local_epochs=2, rounds=10, eval_every=5,
        malicious=0.2, poison_ratio=1.0,
    )  # fmt: skip
    images = 10 * 5 * 1000 * 2 * 1.2 + 3 * 20_000 / 3.4
    assert counted(spec, 10, CPU) == pytest.approx(images / 2600)
    assert counted(spec, 10, ("cpu", "bfloat16")) == pytest.approx(images / 1700)
    assert counted(spec, 10, CPU, attacked=False) == pytest.approx(10 * 5 * 1000 * 2 / 2600)


def test_rounds_that_cells_share_are_counted_once():
    jobs = plan([cell(attack=a, attack_start=31, rounds=60) for a in ("badnets", "dba")])
    estimate = make_estimate(CPU, {})
    prefix, one, other = (estimate.seconds(job) for job in jobs)
    assert prefix == counted(jobs[0].spec, 30, CPU, attacked=False)
    assert one == other == counted(jobs[1].spec, 60, CPU) - prefix
    assert estimate.total(jobs, 1) == pytest.approx(prefix + one + other)


def test_a_warm_up_that_is_there_takes_no_time(tmp_path):
    """In this folder or in another one, but not one of another data set, device or kind of kernels."""
    shared = {"dataset": "cifar10", "warmup_rounds": 60}
    one, other = CellSpec(model="cnn", seed=0, **shared), CellSpec(model="cnn", seed=1, **shared)
    session = Session([one, other], Places(tmp_path / "run", "cpu", 1, warmups=tmp_path, kernels="torch"))
    file = warmup_file(one, session.environment)
    other_kernels = warmup_file(one, replace(session.environment, kernels="numba"))
    assert file != other_kernels
    jobs = {job.spec.seed: job for job in session.jobs if job.stage == "warmup"}
    before = {seed: session.estimate().seconds(job) for seed, job in jobs.items()}
    assert before[0] == before[1] > 0
    other_kernels.touch()
    assert session.estimate().seconds(jobs[0]) == before[0]
    file.touch()
    estimate = session.estimate()
    assert {seed: estimate.seconds(job) for seed, job in jobs.items()} == {0: 0, 1: before[1]}
    assert estimate.total(session.jobs, 1) == pytest.approx(make_estimate(CPU, {}).total(session.jobs, 1) - before[0])


def test_estimates_learn_from_done_cells_by_defense():
    fast, slow = cell(0), cell(0, defense="krum")
    rate = counted(fast, fast.rounds, CPU)
    estimate = make_estimate(CPU, {"a": (fast, 2 * rate), "b": (slow, 6 * rate)})
    jobs = plan([cell(1), cell(1, defense="krum"), cell(1, defense="flame")])
    assert [estimate.seconds(job) / rate for job in jobs] == pytest.approx([2, 6, 4])
    assert "2 cells measured" in estimate.basis
    assert estimate.total(jobs, 1) == pytest.approx(12 * rate)
    assert estimate.total(jobs, 3) == pytest.approx(6 * rate), "no shorter than its longest cell"
    assert "rough" in make_estimate(CPU, {}).basis
