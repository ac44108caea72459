"""Executors of anybody's that break down, or end too early: one line, and no half of a run passes for a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from makers.specs import cell
from watching import fake_session, run

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment, Progress
from clipfed_bench.execution.executor import Executor, execute
from clipfed_bench.execution.jobs import Event, Failure, Job, plan
from clipfed_bench.execution.session import Session
from clipfed_bench.execution.worker import Settings


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
                yield Event("failed", job, failure=Failure("it failed", ""))
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


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (lambda job: [None], "yields a NoneType; an Event is needed"),
        (lambda job: [Event("started", job), Event("done", job)], "is at 'done' without its CellResult"),
        (lambda job: [Event("started", job), Event("failed", job)], "is at 'failed' without its Failure"),
        (lambda job: [Event("step", job, step=Progress("round", 1, 2))], "is at 'step' before it started"),
        (lambda job: [Event("ended", job)], "is ended; possible are started, step,"),
        (
            lambda job: [Event("started", replace(job, id="cell/x"))],
            "that cell/x is started, which is none of its",
        ),
        (
            lambda job: [Event("failed", job, failure=Failure("", ""))] * 2,
            "is failed, which is none of its jobs, or",
        ),
    ],
)
def test_what_cannot_be_is_said(events: Callable[[Job], list[Event]], words: str) -> None:
    class Odd(Theirs):
        def execute(self, jobs, workers, settings) -> Iterator[Event]:
            yield from events(jobs[0])

    job = plan([cell(0)])[-1]
    with pytest.raises(UserError, match=f"^executor 'odd' .*{re.escape(words)}"):
        list(execute("odd", Odd(lambda job: None), [job], 1, Settings(Environment(), Path("logs"))))


def test_a_model_that_cannot_take_the_images_leaves_no_folder(tmp_path: Path) -> None:
    asked = fake_session([cell(model="timm:densenet121")], tmp_path / "run")
    with pytest.raises(UserError, match="densenet121"):
        run(asked)
    assert not (tmp_path / "run").exists()
