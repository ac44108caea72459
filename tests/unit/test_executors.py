"""What every executor does with jobs that succeed, fail, break their process, or are never started: in one run each."""

from __future__ import annotations

import itertools
import os
import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import fake_simulator as fake
import pytest
from makers.specs import cell

from clipfed_bench.core.messages import Environment
from clipfed_bench.execution.executors import local, ray
from clipfed_bench.execution.jobs import Event, plan
from clipfed_bench.execution.ray_cluster import Cluster
from clipfed_bench.execution.worker import Settings

RAY = (pytest.mark.ray, pytest.mark.xdist_group("ray"))


CELLS = [
    *(cell(s) for s in (fake.OK, fake.CRASH, fake.MISTAKE, fake.KILLED, fake.EXIT, fake.NOISY, fake.SLOW)),
    *(cell(s, warmup_rounds=1, attack=a) for s in (fake.OK, fake.CRASH) for a in ("badnets", "dba")),
    *(cell(dataset=d) for d in ("cifar10", "cifar100")),
    *(cell(defense="clip-fed", teacher="local", server_per_class=n) for n in (10, 20, 30)),
    cell(defense="clip-fed", teacher="local[seed=13]"),
    *(cell(fake.MEET, target=t) for t in range(2)),
]


@dataclass
class Run:
    """A run of all ``CELLS``."""

    folder: Path
    events: list[Event]

    def of(self, **values) -> list[Event]:
        """How cells ended, of those with ``values``."""
        ends = [e for e in self.events if e.kind in ("done", "failed") and e.job.stage == "cell"]
        values = {"warmup_rounds": 0, "dataset": "digits", "teacher": None, **values}
        return [e for e in ends if all(getattr(e.job.spec, name) == value for name, value in values.items())]

    def error(self, **values) -> str:
        """Why a cell failed, and where."""
        (event,) = self.of(**values)
        assert event.kind == "failed"
        return f"{event.failure.error}\n{event.failure.traceback}"


@pytest.fixture(scope="module", params=["forked", "spawned", pytest.param("ray", marks=RAY)])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = Settings(Environment(warmup_dir=folder), folder / "logs", "fake_simulator")
    if request.param != "ray":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "FORKED", {"fake_simulator"} if request.param == "forked" else {})
            with closing(local.execute(plan(CELLS), 2, settings)) as events:
                return Run(folder, list(events))
    nodes = request.getfixturevalue("ray_nodes")
    nodes.add()
    with closing(ray.execute(plan(CELLS), 2, settings, Cluster(nodes.address, grace=1.0))) as events:
        return Run(folder, list(events))


def test_every_cell_ends_once(run):
    ends = [e.job.id for e in run.events if e.kind in ("done", "failed")]
    assert sorted(ends) == sorted(job.id for job in plan(CELLS))


def test_events_of_a_job_come_in_order(run):
    for job in plan(CELLS):
        kinds = " ".join(e.kind for e in run.events if e.job.id == job.id)
        assert re.fullmatch(r"(started (step )?retried )?(started (step )?(done|failed)|failed)", kinds), job.id
    (ok,) = run.of(seed=fake.OK)
    steps = [e.step for e in run.events if e.job.id == ok.job.id and e.kind == "step"]
    assert [(step.done, step.mta, step.asr) for step in steps] == [(0, 0.1, 0.9)]
    assert ok.outcome.final == {"mta": 0.5, "asr": 0.25}


def test_cells_run_beside_each_other_in_processes_of_one_thread_without_torch(run):
    meeting = run.of(seed=fake.MEET)
    assert [e.kind for e in meeting] == ["done"] * 2, "nothing ran in parallel"
    facts = [e.outcome.provenance for e in run.events if e.outcome]
    assert {(f["threads"], f["torch"], f["sigint_blocked"]) for f in facts} == {("1", "False", "True")}
    assert str(os.getpid()) not in {f["pid"] for f in facts}
    (slow,) = run.of(seed=fake.SLOW)
    assert slow.seconds >= 0.3


def test_a_cell_that_fails_says_why(run):
    assert run.error(seed=fake.MISTAKE).startswith("that cannot be\n")
    crash = run.error(seed=fake.CRASH)
    assert crash.startswith("ValueError: numbers do not fit\n")
    assert 'raise ValueError("numbers do not fit")' in crash
    killed = run.error(seed=fake.KILLED)
    assert killed.startswith("the worker process")
    assert "fewer --workers" in killed
    assert "it was tried twice, the second time alone" in killed
    ended = run.error(seed=fake.EXIT)
    assert ended.startswith("the worker process")
    assert "last words" in ended


def test_what_failed_was_needed_by_some_and_not_by_others(run):
    assert {e.kind for e in run.of(seed=fake.OK, warmup_rounds=1)} == {"done"}
    lost = run.of(seed=fake.CRASH, warmup_rounds=1)
    assert {e.failure.error for e in lost} == {"the warm-up that it needs failed: RuntimeError: warm-up broke"}
    assert len(lost) == 2
    assert all("in run_warmup" in e.failure.traceback for e in lost)
    assert [e.kind for e in run.of(dataset="cifar10")] == ["done"]
    assert run.error(dataset="cifar100").startswith("the data set that it needs failed: nothing to download it from")
    assert [e.kind for e in run.of(teacher="local")] == ["done"] * 3
    assert run.error(teacher="local[seed=13]").startswith("the teacher that it needs failed: no such teacher")


def test_teachers_with_the_same_files_are_prepared_one_after_the_other(run):
    stamps = sorted(int(path.name.split("-")[2]) for path in run.folder.glob("teacher-*"))
    assert len(stamps) == 3
    assert all(later - earlier >= 0.2e9 for earlier, later in itertools.pairwise(stamps))


def test_what_libraries_print_goes_to_logs_and_empty_logs_go_away(run):
    logs = {path.name: path.read_text() for path in (run.folder / "logs").iterdir()}
    assert all(logs.values())
    assert "".join(logs.values()).count("printed by a library\n") == 1
