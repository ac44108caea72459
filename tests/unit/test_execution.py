"""The process pool, with a fake simulator."""

from __future__ import annotations

import errno
import itertools
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import fake_simulator as fake
import pytest
from faults.processes import alive, descendants
from makers.specs import cell

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.execution import processes
from clipfed_bench.execution.executors.local import execute
from clipfed_bench.execution.jobs import Failure, Schedule, plan
from clipfed_bench.execution.memory import ran_out_of_memory
from clipfed_bench.execution.worker import Settings


def settings(tmp_path: Path) -> Settings:
    return Settings(Environment(warmup_dir=tmp_path), tmp_path / "logs", "fake_simulator")


def run(cells, tmp_path, workers=2):
    with closing(execute(plan(cells), workers, settings(tmp_path))) as events:
        return list(events)


def working():
    """Workers that live: what the nursery has forked."""
    return [pid for nursery in processes._kept for pid in descendants(nursery.pid)]


def ends(events, stage="cell"):
    return {e.job.spec.seed: e for e in events if e.kind in ("done", "failed") and e.job.stage == stage}


# --- the pool ----------------------------------------------------------------------------------------------------


def test_every_cell_runs_once_in_reused_processes(tmp_path):
    events = run([cell(fake.SLOW, target=t) for t in range(6)], tmp_path)
    done = [e for e in events if e.kind == "done"]
    assert sorted(e.job.spec.target for e in done) == list(range(6))
    facts = [e.outcome.provenance for e in done]
    assert len({f["pid"] for f in facts}) == 2
    assert str(os.getpid()) not in {f["pid"] for f in facts}
    assert {(f["threads"], f["torch"], f["sigint_blocked"]) for f in facts} == {("1", "False", "True")}
    spans = sorted((float(f["started"]), float(f["ended"])) for f in facts)
    assert any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans)), "nothing ran in parallel"
    assert all(e.seconds >= 0.3 for e in done)


def test_one_worker_is_one_process(tmp_path):
    events = run([cell(target=t) for t in range(3)], tmp_path, workers=1)
    assert len({e.outcome.provenance["pid"] for e in events if e.kind == "done"}) == 1


def test_events_of_a_cell_come_in_order(tmp_path):
    kinds = [(e.kind, e.step and (e.step.done, e.step.mta, e.step.asr)) for e in run([cell()], tmp_path)]
    assert kinds == [("started", None), ("step", (0, 0.1, 0.9)), ("done", None)]


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        (fake.CRASH, "ValueError: numbers do not fit"),
        (fake.MISTAKE, "that cannot be"),
        (fake.KILLED, "the worker process was killed by SIGKILL"),
        (fake.EXIT, "the worker process ended with exit status 3"),
    ],
)
def test_a_failed_cell_is_reported_and_the_others_go_on(tmp_path, seed, error):
    cells = [cell(seed), *(cell(fake.OK, target=t) for t in range(3))]
    events = run(cells, tmp_path, workers=1)
    failed = [e for e in events if e.kind == "failed"]
    assert [e.job.spec.seed for e in failed] == [seed]
    assert failed[0].failure.error.startswith(error)
    assert sum(e.kind == "done" for e in events) == 3
    if seed == fake.CRASH:
        assert 'raise ValueError("numbers do not fit")' in failed[0].failure.traceback
    if seed == fake.KILLED:
        assert "fewer --workers" in failed[0].failure.error
        assert failed[0].failure.error.endswith("it was tried twice, the second time alone")
    if seed == fake.EXIT:
        assert "last words" in failed[0].failure.traceback


def test_a_process_is_replaced_after_a_crash_but_not_after_a_mistake(tmp_path):
    def pids(seed):
        cells = [cell(fake.OK, target=0), cell(seed), cell(fake.OK, target=1)]
        events = run(cells, tmp_path, workers=1)
        return [e.outcome.provenance["pid"] for e in events if e.kind == "done"]

    before, after = pids(fake.CRASH)
    assert before != after
    before, after = pids(fake.MISTAKE)
    assert before == after


def test_a_failed_warm_up_fails_its_cells_with_its_traceback(tmp_path):
    events = run([cell(s, warmup_rounds=1, attack=a) for s in (0, 1) for a in ("badnets", "dba")], tmp_path)
    failed = [e for e in events if e.kind == "failed" and e.job.stage == "cell"]
    assert {(e.job.spec.seed, e.job.spec.attack.name) for e in failed} == {(1, "badnets"), (1, "dba")}
    assert all("RuntimeError: warm-up broke" in e.failure.error for e in failed)
    assert all("in run_warmup" in e.failure.traceback for e in failed)
    assert {e.job.spec.seed for e in events if e.kind == "done" and e.job.stage == "cell"} == {0}


def test_a_data_set_that_is_not_there_fails_everything_on_it(tmp_path):
    cells = [cell(dataset=d, defense="clip-fed", warmup_rounds=1) for d in ("cifar100", "cifar10")]
    events = run(cells, tmp_path)
    outcomes = {e.job.spec.dataset: e for e in events if e.job.stage == "cell" and e.kind in ("done", "failed")}
    assert outcomes["cifar10"].kind == "done"
    assert outcomes["cifar100"].failure.error == "the data set that it needs failed: nothing to download it from"
    assert not any(e.kind == "started" for e in events if e.job.spec.dataset == "cifar100" and e.job.stage != "data")


def test_a_teacher_that_cannot_be_had_fails_only_the_cells_that_need_it(tmp_path):
    cells = [cell(defense="clip-fed", teacher="local[seed=13]"), cell(defense="fedavg")]
    events = run(cells, tmp_path)
    outcomes = {e.job.spec.defense.name: e for e in events if e.job.stage == "cell" and e.kind in ("done", "failed")}
    assert outcomes["fedavg"].kind == "done"
    assert outcomes["clip-fed"].failure.error == "the teacher that it needs failed: no such teacher"


def test_teachers_with_the_same_files_are_prepared_one_after_the_other(tmp_path):
    run([cell(defense="clip-fed", server_per_class=n) for n in (10, 20, 30)], tmp_path, workers=3)
    stamps = sorted(int(path.name.split("-")[2]) for path in tmp_path.glob("teacher-*"))
    assert len(stamps) == 3
    assert all(later - earlier >= 0.2e9 for earlier, later in itertools.pairwise(stamps))


def test_closing_ends_running_processes(tmp_path):
    events = execute(plan([cell(fake.OK), cell(fake.HANG)]), 2, settings(tmp_path))
    pid, hanging = 0, False
    for event in events:
        hanging |= event.kind == "step" and event.job.spec.seed == fake.HANG
        pid = int(event.outcome.provenance["pid"]) if event.outcome else pid
        if hanging and pid:
            break
    children = working()
    assert children
    begin = time.monotonic()
    events.close()
    assert time.monotonic() - begin < 5
    assert not any(map(alive, children))
    assert not working()


# --- too long, too large -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [fake.HANG, fake.STUCK])
def test_a_cell_that_takes_too_long_is_killed_and_says_where_it_was(tmp_path, seed):
    starting = max(e.seconds for e in run([cell()], tmp_path))
    limited = replace(settings(tmp_path), cell_timeout=1 + 4 * starting)
    with closing(execute(plan([cell(seed), *(cell(target=t) for t in range(3))]), 1, limited)) as events:
        found = ends(events)
    assert {seed: e.kind for seed, e in found.items()} == {seed: "failed", fake.OK: "done"}
    failure, seconds = found[seed].failure, found[seed].seconds
    said = f"it took longer than the {limited.cell_timeout:g} seconds of --cell-timeout"
    assert failure.error == f"it was stopped after round 0 of 300: {said}"
    assert limited.cell_timeout <= seconds < limited.cell_timeout + 5 + 4 * starting
    assert re.search(r'fake_simulator.py", line \d+ in run_cell', failure.traceback), "where it was"
    assert not working()


def test_only_cells_have_a_time_limit(tmp_path):
    limited = replace(settings(tmp_path), cell_timeout=0.1)
    jobs = [job for job in plan([cell(defense="clip-fed")]) if job.stage == "teacher"]
    with closing(execute(jobs, 1, limited)) as events:
        assert [e.kind for e in events] == ["started", "step", "done"]


@pytest.mark.parametrize("seed", [fake.MEMORY_ONCE, fake.KILLED_ONCE])
def test_a_cell_that_ran_out_of_memory_is_tried_again_alone_in_a_new_process(tmp_path, seed):
    cells = [cell(seed, target=0), cell(seed, target=1), *(cell(fake.SLOW, target=t) for t in range(4))]
    events = run(cells, tmp_path)
    assert sorted(e.job.spec.target for e in events if e.kind == "retried") == [0, 1]
    assert all(e.failure.error.endswith("; it is tried once more, alone") for e in events if e.kind == "retried")
    done = [e for e in events if e.kind == "done"]
    assert len(done) == 6
    assert [e.job.spec.seed for e in done[-2:]] == [seed, seed], "after all others"
    spans = sorted((float(e.outcome.provenance["started"]), float(e.outcome.provenance["ended"])) for e in done)
    assert spans[-1][0] > spans[-2][1] > spans[-2][0] > spans[-3][1]
    pids = [e.outcome.provenance["pid"] for e in done]
    assert not {*pids[-2:]} & {*pids[:-2]}, "not in a process that has held other data"


def test_a_cell_that_runs_out_of_memory_twice_has_failed(tmp_path):
    events = run([cell(fake.MEMORY), cell(fake.OK)], tmp_path)
    kinds = [(e.kind, e.job.spec.seed) for e in events if e.kind != "step"]
    assert kinds.count(("started", fake.MEMORY)) == 2
    assert kinds[-1] == ("failed", fake.MEMORY)
    assert ends(events)[fake.OK].kind == "done"
    failure = ends(events)[fake.MEMORY].failure
    assert failure.error == "the model does not load; it was tried twice, the second time alone"
    assert "CUDA out of memory" in failure.traceback


def test_what_others_need_is_tried_again_before_them(tmp_path):
    events = run([cell(fake.MEMORY_ONCE, warmup_rounds=1), cell(fake.OK)], tmp_path)
    assert [e.job.stage for e in events if e.kind == "retried"] == ["warmup"]
    assert [e.job.stage for e in events if e.kind == "done" and e.job.spec.seed == fake.MEMORY_ONCE] == [
        "warmup",
        "cell",
    ]


def test_alone_means_that_nothing_else_runs_and_nothing_waits_longer_than_it_must():
    jobs = plan([cell(s, target=t) for s in (0, 1) for t in (0, 1)])
    schedule = Schedule(jobs)
    first, second = schedule.start(), schedule.start()
    events = list(schedule.settle(first, Failure("no memory", "", memory=True)))
    assert [(e.kind, e.job.id) for e in events] == [("retried", first.id)]
    third, fourth = schedule.start(), schedule.start()
    assert [job.alone for job in (third, fourth)] == [False, False]
    for job in (second, third):
        schedule.succeed(job)
        assert schedule.start() is None
    schedule.succeed(fourth)
    again = schedule.start()
    assert (again.id, again.alone) == (first.id, True)
    assert schedule.start() is None
    events = list(schedule.settle(again, Failure("no memory", "tb", memory=True)))
    assert [(e.kind, e.failure.error) for e in events] == [
        ("failed", "no memory; it was tried twice, the second time alone")
    ]
    assert not schedule.left


def test_what_counts_as_memory_that_ran_out():
    torch = pytest.importorskip("torch")

    def chained(error, cause):
        error.__cause__ = cause
        return error

    yes = [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        OSError(errno.ENOMEM, "x"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried …"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
        chained(UserError("the checkpoint does not load"), MemoryError()),
    ]
    no = [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "x"),
        chained(UserError("x"), ValueError("y")),
    ]
    assert [ran_out_of_memory(error) for error in yes] == [True] * len(yes)
    assert [ran_out_of_memory(error) for error in no] == [False] * len(no)
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(2**60)
    assert ran_out_of_memory(caught.value), "torch says it in words that are known here"


def test_workers_end_at_once_when_their_parent_is_killed(tmp_path):
    code = f"""
import sys
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}
import fake_simulator as fake
from test_execution import cell, run
from pathlib import Path
if __name__ == "__main__":
    run([cell(fake.ORPHAN)], Path(sys.argv[1]), workers=1)
"""
    (tmp_path / "parent.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", tmp_path], env=environment)
    pid = wait_for(lambda: (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else "")
    parent.kill()
    parent.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text())


def wait_for(what):
    deadline = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_what_libraries_print_goes_to_a_log_and_empty_logs_go_away(tmp_path, capfd):
    run([cell(fake.OK)], tmp_path, workers=1)
    assert not (tmp_path / "logs").exists()
    run([cell(fake.NOISY)], tmp_path, workers=1)
    assert (tmp_path / "logs" / "worker-1.log").read_text() == "printed by a library\n"
    assert "printed" not in "".join(capfd.readouterr())


def test_a_runner_that_cannot_be_imported_fails_its_cells(tmp_path):
    wrong = Settings(Environment(), tmp_path / "logs", "no_such_module")
    events = list(execute(plan([cell(0), cell(1)]), 2, wrong))
    assert [e.failure.error for e in events if e.kind == "failed"] == [
        "ModuleNotFoundError: No module named 'no_such_module'"
    ] * 2
