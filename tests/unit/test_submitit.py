"""Jobs of Slurm: on processes of this machine, on a stand-in for Slurm, in a queue that says what a test wants."""

from __future__ import annotations

import os
import pickle
import time
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import fake_simulator as fake
import pytest
from makers.slurm import stand_in
from makers.specs import cell, environment, resumed_cell
from miniature import numbers

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import CellResult, Environment, Progress
from clipfed_bench.execution.executor import make_executor
from clipfed_bench.execution.executors import submitit
from clipfed_bench.execution.executors.submitit import Config, execute
from clipfed_bench.execution.jobs import Failure, plan
from clipfed_bench.execution.shared_places import Place
from clipfed_bench.execution.worker import Settings
from clipfed_bench.simulator.cell import run_cell

LOCAL = make_executor("submitit[cluster=local]")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Of jobs that the fake simulator does, with the paths of the tests for processes."""
    paths = [str(Path(__file__).parents[n]) for n in (0, 1, 2)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))
    return Settings(Environment(warmup_dir=tmp_path), tmp_path / "logs", "fake_simulator")


def kinds(events, seed):
    return [e.kind for e in events if e.job.spec.seed == seed and e.kind != "step"]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


# --- what submitit starts ---


def test_a_job_that_dies_is_tried_again_and_one_that_fails_says_why(settings):
    pytest.importorskip("submitit")
    LOCAL.check()
    cells = [cell(fake.KILLED_ONCE), cell(fake.MISTAKE)]
    with closing(LOCAL.execute(plan(cells), 2, settings)) as events:
        found = list(events)
    assert kinds(found, fake.KILLED_ONCE) == ["started", "retried", "started", "done"]
    (lost,) = [e.failure for e in found if e.kind == "retried"]
    assert lost.error.startswith("the worker process of job ")
    assert "it is tried once more, alone" in lost.error
    assert kinds(found, fake.MISTAKE) == ["started", "failed"]
    (done,) = [e.outcome for e in found if e.outcome]
    assert (done.provenance["threads"], done.provenance["torch"]) == ("1", "False")
    assert done.provenance["pid"] != str(os.getpid())
    assert not settings.logs.exists()


def test_slurm_runs_an_array_and_what_is_left_is_cancelled_at_the_end(settings, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    stand_in(tmp_path / "bin")
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))
    slurm, pid = make_executor("submitit[partition=short]"), tmp_path / "pid"
    slurm.check()
    with closing(slurm.execute(plan([cell(fake.OK), cell(fake.ORPHAN)]), None, settings)) as events:
        done = next(event for event in events if event.kind == "done")
        deadline = time.monotonic() + 60
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert done.job.spec.seed == fake.OK
    assert (tmp_path / "bin" / "cancelled").read_text() == "7_1\n"
    while is_running(pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid.read_text())
    assert not settings.logs.exists()


def test_a_cell_has_the_numbers_that_it_has_anywhere(tmp_path):
    pytest.importorskip("submitit")
    spec, env = resumed_cell(rounds=1), environment(tmp_path, "warmup", "cache")
    with closing(LOCAL.execute(plan([spec]), 1, Settings(env, tmp_path / "logs"))) as events:
        (done,) = [event.outcome for event in events if event.outcome]
    assert numbers(done) == numbers(run_cell(spec, env))


# --- a queue that only pretends ---


class Queue:
    """``script(work)`` gives what a job says, message by message; with no more to say, it has ended if it ``ends``."""

    def __init__(self, script, state="FAILED"):
        self.script, self.state = script, state
        self.arrays, self.cancelled = [], []

    def __call__(self, works):
        self.arrays.append([work.job.spec.seed for work in works])
        return [self._submit(work) for work in works]

    def _submit(self, work):
        said = list(self.script(work))
        work.said.write_bytes(b"".join(pickle.dumps(message) for message in said))
        number = f"{len(self.arrays)}_{work.job.spec.seed}"
        out = work.said.with_suffix(".out")
        out.write_text("slurmstepd: error\n")
        ended = said[-1:] != [("waits", "")] and "hangs" not in dict(said[-1:])
        work.said.write_bytes(b"".join(pickle.dumps(m) for m in said if m[0] not in ("waits", "hangs")))
        return SimpleNamespace(
            job_id=number,
            state=self.state,
            done=lambda: ended,
            cancel=lambda check: self.cancelled.append(number),
            paths=SimpleNamespace(stdout=out),
        )


STARTED, DONE = ("started", "node1"), ("done", CellResult([], {"mta": 0.5}, {}))


@pytest.fixture
def start(settings, monkeypatch):
    """Events of cells with the seeds given, in a queue."""
    monkeypatch.setattr(submitit, "_TICK", {"slurm": 0.0})
    monkeypatch.setattr(submitit, "_LATENESS", {"slurm": 0.0})
    monkeypatch.setattr(submitit, "_LAST_WORDS", 0.0)

    def start(queue, *seeds, limit=10, **more):
        given = Settings(settings.environment, settings.logs, **more)
        return execute(plan([cell(s) for s in seeds]), limit, given, Config(), lambda folder, config: queue)

    return start


def test_what_can_run_is_one_array_and_no_more_than_the_limit(start):
    queue = Queue(lambda work: [STARTED, ("step", Progress("round", 1, 2)), DONE])
    found = list(start(queue, 0, 1, 2, 3, limit=3))
    assert queue.arrays == [[0, 1, 2], [3]]
    assert [e.kind for e in found if e.job.spec.seed == 0] == ["started", "step", "done"]
    assert queue.cancelled == []


def test_a_requeued_job_is_retried_and_goes_on(start):
    found = list(start(Queue(lambda work: [STARTED, ("step", Progress("round", 1, 2)), STARTED, DONE]), 0))
    assert [e.kind for e in found] == ["started", "step", "retried", "started", "done"]
    assert "requeued" in found[2].failure.error


def test_half_a_message_waits_for_its_rest(tmp_path):
    said = tmp_path / "said"
    member = submitit._Member(log=tmp_path, wanted=None, handle=None, said=said)
    whole = pickle.dumps(STARTED) + pickle.dumps(DONE)
    seen = []
    for end in (*range(0, len(whole), 11), len(whole)):
        said.write_bytes(whole[:end])
        seen += member.news()
    assert seen == [STARTED, DONE]


@pytest.mark.parametrize(
    ("state", "tries"), [("OUT_OF_MEMORY", 2), ("NODE_FAIL", 2), ("TIMEOUT", 1), ("CANCELLED by 1", 1)]
)
def test_a_job_that_dies_fails_with_slurms_reason(start, state, tries):
    queue = Queue(lambda work: [] if work.job.alone else [STARTED], state)
    *_, last = start(queue, 0)
    assert (last.kind, len(queue.arrays)) == ("failed", tries)
    assert f"of job {tries}_0 ended, {state}, in the middle of it" in last.failure.error
    assert last.failure.traceback.endswith(f"The output of job {tries}_0:\nslurmstepd: error\n")


def test_a_cell_that_takes_too_long_is_cancelled_and_others_at_the_end(start):
    queue = Queue(lambda work: [STARTED, ("hangs", "")] if work.job.spec.seed < 2 else [("waits", "")])
    events = start(queue, 0, 2, cell_timeout=0.01)
    with closing(events):
        failed = next(event for event in events if event.kind == "failed")
    assert "it took longer than the 0.01 seconds of --cell-timeout" in failed.failure.error
    assert queue.cancelled == ["1_0", "1_2"]


def test_a_node_that_does_not_see_the_files_ends_the_grid(start, tmp_path):
    place = Place("--out", tmp_path, tmp_path / "proof")
    queue = Queue(lambda work: [("unseen", ("node7", (place,)))])
    with pytest.raises(UserError, match=f"--out: node node7 does not see {tmp_path}; it has to be on a filesystem"):
        list(start(queue, 0, 1))
    assert sorted(queue.cancelled) == ["1_0", "1_1"]


def test_what_sbatch_refuses_is_one_message(start):
    def refuses(works):
        raise RuntimeError("sbatch: error: invalid partition specified: gpux\n")

    with pytest.raises(UserError, match=r"submitted: sbatch: error: invalid partition specified: gpux$"):
        list(start(refuses, 0))


# --- in a job ---


@pytest.fixture
def here(monkeypatch):
    """Work is done in this process, and does not end it."""

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr(submitit.os, "_exit", leave)
    monkeypatch.setattr(submitit, "redirect", lambda log: None)


def test_a_job_ends_when_its_command_is_gone(here, settings, tmp_path, monkeypatch):
    """Its command touches a file; where that is gone, or stays as it was, the job ends."""
    monkeypatch.setattr(submitit, "_BEAT", 0.01)
    monkeypatch.setattr(submitit.Work, "_work", lambda self, ended: None)
    (job,), pulse = plan([cell()]), tmp_path / "pulse"
    work = submitit.Work(job, settings, (), tmp_path / "said", tmp_path / "log", pulse)
    with pytest.raises(SystemExit, match="1"):
        work()
    pulse.touch()
    monkeypatch.setattr(submitit, "_PATIENCE", 0.05)
    with pytest.raises(SystemExit, match="1"):
        work()


def test_a_job_says_how_it_ended(here, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(submitit.Runner, "attempt", lambda runner, job, report: ("failed", Failure("no", "no"), True))
    (job,) = plan([cell()])
    hidden = Place("--warmups", tmp_path / "w", tmp_path / "w")
    monkeypatch.setattr(submitit, "_LATENESS", {"slurm": 0.0})
    for places, expected in (((), ["started", "failed"]), ((hidden,), ["unseen"])):
        said = tmp_path / f"said-{len(places)}"
        with pytest.raises(SystemExit, match="0") if not places else nullcontext():
            submitit.Work(job, settings, places, said, tmp_path / "log", tmp_path)()
        member = submitit._Member(log=tmp_path, wanted=job, handle=None, said=said)
        assert [kind for kind, _ in member.news()] == expected


# --- options ---


@pytest.mark.parametrize(
    ("text", "asked", "device"),
    [("submitit", "auto", "cpu"), ("submitit[gpus=1]", "auto", "cuda"), ("submitit[gpus=2]", "cuda", "cuda")],
)
def test_cells_run_on_gpus_where_jobs_have_them(text, asked, device):
    assert make_executor(text).device(asked) == device


@pytest.mark.parametrize(
    ("text", "asked", "words"),
    [
        ("submitit", "cuda", "--device: on cuda a job needs a GPU"),
        ("submitit[gpus=1]", "cpu", "with --device cpu, cells take no GPU"),
        ("submitit[minutes=0]", "cpu", r"submitit\[minutes=0\]: at least 1 is needed"),
        ("submitit[time=3]", "cpu", "unknown option of executor submitit 'time'"),
    ],
)
def test_options_that_cannot_be(text, asked, words):
    with pytest.raises(UserError, match=words):
        make_executor(text).device(asked)


def test_without_slurm_it_says_so_before_anything_is_written(monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="there is no sbatch or srun here"):
        make_executor("submitit").check()
