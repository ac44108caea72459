"""What the Ray executor decides, on a Ray that only pretends; tests/e2e/test_ray.py has a real one."""

from __future__ import annotations

from contextlib import closing, nullcontext

import pytest
from fake_ray import ActorDiedError, FakeRay, RayTaskError, done
from makers.specs import cell

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment, Progress
from clipfed_bench.core.version import VERSION
from clipfed_bench.execution.executors import ray
from clipfed_bench.execution.jobs import Failure, plan
from clipfed_bench.execution.ray_cluster import Cluster
from clipfed_bench.execution.ray_worker import Greeting
from clipfed_bench.execution.shared_places import Place
from clipfed_bench.execution.worker import Settings


@pytest.fixture
def start(tmp_path):
    """Events of cells on a pretended Ray."""

    def start(fake, cells, workers=None, device="cpu", cell_timeout=None, **options):
        fake.version = fake.version or VERSION
        environment = Environment(device, warmup_dir=tmp_path / "run" / "warmups")
        settings = Settings(environment, tmp_path / "run" / "logs", cell_timeout=cell_timeout)
        cluster = Cluster(**{"grace": 0.0, "tick": 0.0, "last_words": 0.0, **options})
        return ray.execute(plan(cells), workers, settings, cluster, lambda cluster, cpus: nullcontext(fake))

    return start


def ends(events):
    return {e.job.spec.seed: e.kind for e in events if e.kind in ("done", "failed") and e.job.stage == "cell"}


def kinds(events, seed):
    return [e.kind for e in events if e.job.spec.seed == seed]


def test_every_cell_runs_once_in_as_many_workers_as_there_is_room_for(start):
    fake = FakeRay({"a": 1, "b": 2})
    most = []
    fake.after = lambda ray: most.append(len(ray.actors))
    events = list(start(fake, [cell(s) for s in range(7)]))
    assert ends(events) == dict.fromkeys(range(7), "done")
    assert sorted(seed for seed, _ in fake.given) == list(range(7))
    assert max(most) == 3
    assert fake.actors == []
    assert fake.options["num_cpus"] == 1
    assert fake.options["num_gpus"] == 0


def test_steps_and_outcomes_are_passed_on_in_order(start):
    step = Progress("round", 1, 2, 0.25, 0.5)
    events = list(start(FakeRay({"a": 1}, lambda job, actor: [("step", step, False), done(0.75)]), [cell()]))
    assert [e.kind for e in events] == ["started", "step", "done"]
    assert events[1].step == step
    assert events[2].outcome.final == {"mta": 0.75}


def test_workers_are_limited_and_those_without_room_are_not_waited_for(start):
    fake = FakeRay({"a": 2})
    most = []
    fake.after = lambda ray: most.append(len(ray.actors))
    assert len(ends(start(fake, [cell(s) for s in range(4)], workers=1))) == 4
    assert max(most) == 1
    fake = FakeRay({"a": 1})
    assert ends(start(fake, [cell(s) for s in range(4)], workers=3)) == dict.fromkeys(range(4), "done")
    assert {node for _, node in fake.given} == {"a"}


def test_a_node_that_joins_gets_work(start):
    def join(fake):
        if len(fake.given) == 2 and len(fake.listed) == 1:
            fake.listed.append(fake.node("new", 1))

    fake = FakeRay({"a": 1}, after=join)
    assert ends(start(fake, [cell(s) for s in range(8)])) == dict.fromkeys(range(8), "done")
    assert {node for _, node in fake.given} == {"a", "new"}


def test_a_job_whose_node_dies_is_done_again_on_another(start):
    def script(job, actor):
        if job.spec.seed == 1 and all(node["Alive"] for node in fake.listed):
            fake.kill_node(actor.node)
            return [ActorDiedError("its node has died")]
        return [done()]

    fake = FakeRay({"a": 1, "b": 1}, script)
    events = list(start(fake, [cell(s) for s in range(4)]))
    assert ends(events) == dict.fromkeys(range(4), "done")
    assert kinds(events, 1) == ["started", "retried", "started", "done"]
    first, second = [node for seed, node in fake.given if seed == 1]
    assert first != second
    assert [e.failure.error for e in events if e.kind == "retried"] == [f"node host-{first} died"]
    assert sorted(seed for seed, _ in fake.given) == [0, 1, 1, 2, 3]


def test_a_job_whose_nodes_keep_dying_fails(start):
    def script(job, actor):
        if job.spec.seed == 0:
            fake.listed.append(fake.node(f"{actor.node}+", 1))
            fake.kill_node(actor.node)
            return [ActorDiedError("its node has died")]
        return [done()]

    fake = FakeRay({"a": 1}, script)
    events = list(start(fake, [cell(0), cell(1)], retries=2))
    assert kinds(events, 0) == ["started", "retried"] * 2 + ["started", "failed"]
    assert ends(events) == {0: "failed", 1: "done"}
    (failure,) = [e.failure for e in events if e.kind == "failed"]
    assert failure.error == "node host-a++ died (3 nodes have died under this job)"


def test_a_job_whose_process_dies_is_tried_once_more_alone_in_a_new_one(start):
    def script(job, actor):
        beside.append((job.spec.seed, sum(bool(other.jobs) for other in fake.actors)))
        if job.spec.seed == 0:
            actor.log.write_text("last words\n")
            return [ActorDiedError("its process has died")]
        return [done()]

    beside = []
    fake = FakeRay({"a": 2}, script)
    events = list(start(fake, [cell(s) for s in range(4)]))
    assert kinds(events, 0) == ["started", "retried", "started", "failed"]
    assert ends(events) == {0: "failed", 1: "done", 2: "done", 3: "done"}
    assert beside[-1] == (0, 1), "alone and last"
    (failure,) = [e.failure for e in events if e.kind == "failed"]
    assert failure.error.startswith("the worker process on host-a died")
    assert failure.error.endswith("it was tried twice, the second time alone")
    assert "last words" in failure.traceback
    assert "Ray's account: its process has died" in failure.traceback


def test_memory_that_ran_out_once_is_no_failure(start):
    def script(job, actor):
        if job.spec.seed == 0 and not job.alone:
            return [("failed", Failure("out of memory", "tb", memory=True), True)]
        return [done()]

    events = list(start(FakeRay({"a": 1, "b": 1}, script), [cell(s) for s in range(3)]))
    assert kinds(events, 0) == ["started", "retried", "started", "done"]
    assert ends(events) == dict.fromkeys(range(3), "done")


def test_a_cell_that_takes_too_long_is_stopped_and_its_worker_replaced(start):
    def script(job, actor):
        numbers.append(actor.number)
        return [("step", Progress("round", 3, 9), False)] if job.spec.seed == 0 else [done()]

    numbers = []
    events = list(start(FakeRay({"a": 1}, script), [cell(0), cell(1)], cell_timeout=0.2))
    assert ends(events) == {0: "failed", 1: "done"}
    assert numbers == [1, 2]
    (failure,) = [e.failure for e in events if e.kind == "failed"]
    assert failure.error == "it was stopped after round 3 of 9: it took longer than the 0.2 seconds of --cell-timeout"


def test_a_node_may_be_known_as_dead_later_than_its_processes(start):
    def script(job, actor):
        if len(fake.given) == 1:
            return [ActorDiedError("its process has died")]
        return [done()]

    looks = []

    def after(fake):
        looks.append(1)
        if len(looks) == 10:
            fake.listed.append(fake.node("b", 1))
            fake.kill_node("a")

    fake = FakeRay({"a": 1}, script, after=after)
    events = list(start(fake, [cell(0), cell(1)], grace=60.0))
    assert kinds(events, 0) == ["started", "retried", "started", "done"]


def test_a_process_is_replaced_after_a_crash_but_not_after_a_mistake(start):
    def workers(hurt):
        def script(job, actor):
            numbers.append(actor.number)
            return [("failed", Failure("no", "no"), hurt) if job.spec.seed == 1 else done()]

        numbers = []
        assert ends(start(FakeRay({"a": 1}, script), [cell(s) for s in range(3)])) == {
            0: "done",
            1: "failed",
            2: "done",
        }
        return numbers

    assert workers(True) == [1, 1, 2]
    assert workers(False) == [1, 1, 1]


def test_what_a_failed_job_was_needed_for_fails(start):
    fake = FakeRay({"a": 1}, lambda job, actor: [("failed", Failure("boom", "tb"), False)])
    events = list(start(fake, [cell(0, warmup_rounds=1, attack=a) for a in ("badnets", "dba")]))
    assert [(e.kind, e.failure and e.failure.error) for e in events] == [
        ("started", None),
        ("failed", "boom"),
        *[("failed", "the warm-up that it needs failed: boom")] * 2,
    ]


def test_no_suitable_node_is_an_error_unless_more_may_come(start):
    with pytest.raises(UserError, match=r"no node of the Ray cluster has 1 CPU; .* say --workers"):
        list(start(FakeRay({"head": 0}), [cell()]))
    with pytest.raises(UserError, match=r"has 1 CPU and 0.5 GPU"):
        list(start(FakeRay({"a": 4}), [cell()], device="cuda", gpus_per_cell=0.5))

    def grow(fake):
        if len(fake.listed) == 1:
            fake.listed.append(fake.node("b", 1))

    assert ends(start(FakeRay({"head": 0}, after=grow), [cell()], workers=2)) == {0: "done"}
    with pytest.raises(UserError, match="has had 1 CPU for"):
        list(start(FakeRay({"head": 0}), [cell()], workers=2, patience=-1.0))


def test_a_cluster_that_lost_its_last_node_is_waited_for(start, monkeypatch):
    def script(job, actor):
        if actor.node == "a":
            fake.kill_node("a")
            return [ActorDiedError("its node has died")]
        return [done()]

    def replace(fake):
        if fake.given and len(fake.listed) == 1:
            waits.append(1)
            if len(waits) == 5:
                fake.listed.append(fake.node("b", 1))

    monkeypatch.setattr(ray.time, "sleep", lambda seconds: replace(fake))
    waits = []
    fake = FakeRay({"a": 1}, script)
    assert kinds(list(start(fake, [cell()])), 0) == ["started", "retried", "started", "done"]
    fake = FakeRay({"a": 1}, script)
    with pytest.raises(UserError, match="no node of the Ray cluster has had 1 CPU"):
        list(start(fake, [cell()], patience=-1.0))


def test_cells_share_gpus(start):
    fake = FakeRay({})
    fake.listed = [fake.node("a", 8, gpus=2)]
    most = []
    fake.after = lambda ray: most.append(len(ray.actors))
    assert len(ends(start(fake, [cell(s) for s in range(9)], device="cuda", gpus_per_cell=0.5))) == 9
    assert max(most) == 4
    assert fake.options["num_gpus"] == 0.5


def test_a_node_that_does_not_see_the_files_is_named(start, tmp_path):
    fake = FakeRay({"a": 1})
    fake.greetings["a"] = Greeting("a", "worker7", VERSION, (Place("--out", tmp_path, tmp_path / "proof"),))
    with pytest.raises(UserError, match=r"--out: node worker7 does not see .* on a filesystem that all nodes share"):
        list(start(fake, [cell()]))
    assert fake.actors == []
    fake.greetings["a"] = Greeting("a", "worker7", VERSION, (Place("--data-dir", tmp_path, tmp_path),))
    with pytest.raises(UserError, match=r"--data-dir: node worker7 does not see .* there on every node"):
        list(start(fake, [cell()]))


def test_a_node_with_another_version_is_named(start):
    fake = FakeRay({"a": 1})
    fake.greetings["a"] = Greeting("a", "worker7", "0.0.1")
    with pytest.raises(UserError, match=rf"node worker7 has clipfed-bench 0\.0\.1, and this machine {VERSION}"):
        list(start(fake, [cell()]))


def test_workers_that_cannot_start_are_an_error_and_those_whose_node_died_are_not(start):
    fake = FakeRay({"a": 1})
    fake.greetings["a"] = RayTaskError("Traceback\n\nModuleNotFoundError: No module named 'clipfed_bench'")
    with pytest.raises(UserError, match="no worker can be started on the Ray cluster: ModuleNotFoundError"):
        list(start(fake, [cell()]))
    fake.greetings["a"] = ActorDiedError("its node has died")
    assert ends(start(fake, [cell()])) == {0: "done"}
    fake.greetings = {}
    broken = FakeRay({"a": 1})
    broken.after = lambda ray: ray.greetings.update(a=ActorDiedError("it always dies"))
    with pytest.raises(UserError, match="it always dies"):
        list(start(broken, [cell()]))


def test_closing_ends_every_worker_and_removes_what_was_put_into_the_folder(start, tmp_path):
    fake = FakeRay({"a": 1, "b": 1}, lambda job, actor: [("step", Progress("round", 0, 2), False)])
    with closing(start(fake, [cell(0), cell(1)])) as events:
        for event in events:
            if event.kind == "step":
                break
        assert len(fake.actors) == 2
        assert all(place.proof.exists() for actor in fake.actors for place in actor.places)
    assert fake.actors == []
    assert len(fake.killed) == 2
    assert list((tmp_path / "run").iterdir()) == []
