"""Executors of anybody's that break down, or end too early: one line, and no half of a run passes for a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from makers.specs import cell
from watching import fake_session, run

from clipfed_bench.core.errors import UserError
from clipfed_bench.execution.executor import Executor
from clipfed_bench.execution.jobs import Event, Job
from clipfed_bench.execution.session import Session


class Theirs(Executor):
    def __init__(self, do: Callable[[Job], None], first: int = 99) -> None:
        super().__init__(None)
        self.do, self.first = do, first
        self.closed = False

    def execute(self, jobs, workers, settings) -> Iterator[Event]:
        try:
            for job in jobs[: self.first]:
                yield Event("started", job)
                self.do(job)
                yield Event("failed", job)
        finally:
            self.closed = True


def refuse(job: Job) -> None:
    raise RuntimeError("no\ncluster today")


def session(folder: Path, executor: Theirs) -> Session:
    """Two cells to be run by ``executor``, which is called "theirs"."""
    made = fake_session([cell(0), cell(1)], folder)
    made.places.__dict__["engine"] = executor  # where it is kept once it is made
    object.__setattr__(made.places, "executor", "theirs")
    return made


def test_what_it_raises_is_a_line_and_the_traceback_in_the_account(tmp_path: Path) -> None:
    theirs = Theirs(refuse)
    asked = session(tmp_path, theirs)
    with pytest.raises(UserError, match=r"^executor 'theirs' raises RuntimeError: no.*cluster today\. Its traceback"):
        run(asked)
    assert theirs.closed
    lines = [json.loads(line) for line in asked.account.path.read_text().splitlines()]
    assert "in refuse" in next(line["traceback"] for line in lines if line["event"] == "stopped")


def test_jobs_that_it_leaves_open_are_counted(tmp_path: Path) -> None:
    asked = session(tmp_path, Theirs(lambda job: None, first=1))
    jobs = len(asked.jobs)
    with pytest.raises(UserError, match=rf"^executor 'theirs' ended, and {jobs - 1} of {jobs} jobs are neither"):
        run(asked)
    run(session(tmp_path / "all", Theirs(lambda job: None)))


def test_a_model_that_cannot_take_the_images_leaves_no_folder(tmp_path: Path) -> None:
    asked = fake_session([cell(model="timm:densenet121")], tmp_path / "run")
    with pytest.raises(UserError, match="densenet121"):
        run(asked)
    assert not (tmp_path / "run").exists()
