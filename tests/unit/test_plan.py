"""Planning and scheduling: what is done once for several cells, and what has to wait."""

from __future__ import annotations

from makers.specs import cell

from clipfed_bench.execution.jobs import Failure, Schedule, plan


def test_shared_work_is_one_job_each_and_comes_first():
    cells = [cell(s, warmup_rounds=2, defense=d) for s in (0, 1) for d in ("fedavg", "krum", "clip-fed")]
    jobs = plan(cells)
    assert [job.stage for job in jobs] == ["teacher", "warmup", "warmup"] + ["cell"] * 6
    by_id = {job.id: job for job in jobs}
    for job in jobs[3:]:
        needed = {by_id[id].stage: by_id[id] for id in job.needs}
        assert needed["warmup"].spec.warmup_key == job.spec.warmup_key
        assert ("teacher" in needed) == (job.spec.teacher is not None)


def test_rounds_before_the_attack_are_a_job_where_cells_share_them():
    late = {"attack_start": 3, "warmup_rounds": 2}
    jobs = plan([cell(0, **late), cell(0, attack="dba", **late), cell(0, defense="clip-fed", **late), cell(1)])
    assert [job.stage for job in jobs] == ["teacher", "warmup", "prefix"] + ["cell"] * 4
    by_id = {job.id: job for job in jobs}
    needed = [[by_id[id].stage for id in job.needs] for job in jobs[2:]]
    assert needed == [["warmup"], ["warmup", "prefix"], ["warmup", "prefix"], ["teacher", "warmup"], []]
    teachers = plan([cell(attack=a, defense="clip-fed", **late) for a in ("badnets", "dba")])
    assert [job.needs for job in teachers if job.stage == "prefix"] == [(teachers[0].id, teachers[1].id)]


def test_a_failed_prefix_fails_the_cells_that_share_it():
    jobs = plan([cell(0, attack_start=3, attack=a) for a in ("badnets", "dba")])
    schedule = Schedule(jobs)
    _, *doomed = schedule.settle(schedule.start(), Failure("boom", ""))
    assert [event.failure.error for event in doomed] == ["the prefix that it needs failed: boom"] * 2
    assert not schedule.left


def test_cells_without_warm_up_or_teacher_need_nothing():
    assert [(job.stage, job.needs) for job in plan([cell()])] == [("cell", ())]


def test_different_server_data_is_prepared_apart_but_never_two_at_once():
    jobs = plan([cell(defense="clip-fed", server_per_class=n) for n in (10, 20)])
    schedule = Schedule(jobs)
    first = schedule.start()
    assert first is not None
    assert first.stage == "teacher"
    assert schedule.start() is None  # the other may write the same files, and the cells wait
    schedule.succeed(first)
    started = [schedule.start(), schedule.start()]
    assert sorted(job.stage for job in started if job) == ["cell", "teacher"]


def test_a_data_set_that_may_be_downloaded_is_loaded_once_before_all_else():
    cells = [cell(dataset=d, defense="clip-fed", warmup_rounds=1) for d in ("cifar10", "cifar10-lt", "digits")]
    jobs = plan(cells)
    assert [job.id for job in jobs if job.stage == "data"] == ["data/cifar10"]
    assert all(("data/cifar10" in job.needs) == (job.spec.dataset != "digits") for job in jobs[1:])


def test_a_failed_need_fails_all_that_wait_for_it_and_nothing_else():
    jobs = plan([cell(s, warmup_rounds=1, attack=a) for s in (0, 1) for a in ("badnets", "dba")])
    schedule = Schedule(jobs)
    first, second = schedule.start(), schedule.start()
    assert first is not None
    assert second is not None
    own, *doomed = schedule.settle(first, Failure("boom", "Traceback: boom"), 2.0)
    assert (own.kind, own.job, own.failure.error, own.seconds) == ("failed", first, "boom", 2.0)
    assert {(event.job.spec.seed, event.job.spec.attack.name) for event in doomed} == {(0, "badnets"), (0, "dba")}
    assert {event.failure.error for event in doomed} == {"the warm-up that it needs failed: boom"}
    assert {event.failure.traceback for event in doomed} == {"Traceback: boom"}
    schedule.succeed(second)
    for _ in range(2):
        job = schedule.start()
        assert job is not None
        assert job.spec.seed == 1
        schedule.succeed(job)
    assert not schedule.left
