"""The bench: its arithmetic by hand, its yardsticks against the simulator, and one small run from end to end."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, replace
from multiprocessing import Pipe
from threading import Thread

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import aggregation, ours, text, yardsticks
from benchmarks.aggregation import Aggregation, measure_aggregations
from benchmarks.ceilings import Ceilings, Work, _cpu_kernels, count_work, measure_ceilings
from benchmarks.rounds import PARTS, measure_rounds, outside_share
from benchmarks.scale import choose
from benchmarks.scaling import Scaling, best_number, compare
from benchmarks.steps import PLAIN, USUAL, Step
from benchmarks.targets import target, targets
from benchmarks.timing import Clock, Spread, ratios, spread, take_turns
from benchmarks.world import World, make_world
from clipfed_bench.cli.main import app
from clipfed_bench.components.registry import defenses
from clipfed_bench.core.errors import UserError
from clipfed_bench.execution.worker import THREADS
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.report.formats.markdown import markdown

FAST = Ceilings({"float32": 1e11, "bfloat16": 4e11}, 1e10)
ONE = Spread(1.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_ratios_are_taken_repetition_by_repetition():
    # Repetition 2 was disturbed for both alike: its ratio is that of the others.
    assert ratios([1.0, 10.0, 2.0], [1.5, 15.0, 4.0]) == Spread(1.5, 1.5, 2.0)
    assert spread([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0)


def test_contestants_take_turns():
    calls: list[str] = []
    names = ("a", "b", "c")
    seconds = take_turns({n: (lambda n=n: calls.append(n)) for n in names}, 4, Clock("cpu"), warm_up=2)
    assert "".join(calls) == "aabbcc" + "abc" + "bca" + "cab" + "abc"
    assert [len(seconds[n]) for n in names] == [4, 4, 4]
    assert min(min(times) for times in seconds.values()) >= 0


def test_work_of_the_cnn_by_hand():
    work = count_work("cnn")
    # 3 × 3 convolutions of 3 → 16 → 32 → 64 channels on 32², 16², 8² pixels, 1024 → 128, 128 → 10.
    products = [27 * 16 * 1024, 144 * 32 * 256, 288 * 64 * 64, 1024 * 128, 128 * 10]
    assert work.forward_flops == 2 * sum(products)
    assert work.train_flops == 2 * (3 * sum(products) - products[0])  # nobody wants the images' gradient
    # GroupNorms write a quarter of what convolutions do; then the two linear layers.
    assert work.activations == 1.25 * (16 * 1024 + 32 * 256 + 64 * 64) + 128 + 10
    assert work.params == 27 * 16 + 144 * 32 + 288 * 64 + 2 * (16 + 32 + 64) + 1024 * 128 + 128 + 1290


def test_work_of_resnet18_is_the_known_one():
    work = count_work("resnet18")
    assert work.params == 11_173_962
    assert work.forward_flops == pytest.approx(1.111e9, rel=1e-3)
    assert work.train_flops == pytest.approx(3.329e9, rel=1e-3)


def test_floor_is_the_larger_of_compute_and_traffic():
    work = Work(params=1000, forward_flops=1e6, train_flops=3e6, activations=500)
    step = work.step(10)
    assert step.flops == 3e7
    assert step.bytes == {"float32": 5 * 4 * 5000 + 32_000, "bfloat16": 5 * 2 * 5000 + 32_000}
    assert FAST.seconds(step) == pytest.approx(3e7 / 1e11)  # 0.3 ms of FLOPs, 0.013 ms of traffic
    assert FAST.seconds(step.times(2), "bfloat16") == pytest.approx(6e7 / 4e11)
    mean = work.aggregation(10)
    assert mean.bytes["float32"] == 4 * 11 * 1000
    assert FAST.seconds(mean) == pytest.approx(44_000 / 1e10)  # traffic
    assert FAST.seconds(mean + step) == pytest.approx((3e7 + 20_000) / 1e11)
    assert work.evaluation(7).bytes["bfloat16"] == 2 * 2 * 500 * 7


def test_ceilings_are_those_of_a_computer():
    ceilings = measure_ceilings("cpu", quick=True, repetitions=1)
    assert set(ceilings.flops) == {"float32", "bfloat16"}
    assert all(1e7 < rate < 1e14 for rate in ceilings.flops.values())
    assert 1e8 < ceilings.bandwidth < 1e13
    assert set(ceilings.kernels) == {"torch", "oneDNN", "OpenBLAS"}
    assert ceilings.flops["float32"] == max(ceilings.kernels.values())


def test_other_libraries_multiply_the_same_matrix():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        products = _cpu_kernels(8)
        torch.manual_seed(0)
        matrix = torch.randn(8, 8)
    torch.testing.assert_close(products["oneDNN"]()[0, :, :, 0].T, matrix @ matrix)
    torch.testing.assert_close(torch.from_numpy(products["OpenBLAS"]()), matrix @ matrix)


def test_the_plain_loop_trains_what_the_simulator_trains(monkeypatch):
    """One client and one batch an epoch: the order of images changes nothing but rounding."""
    world = make_world("cnn", "cpu", 1, 12, batch_size=12, epochs=2, tests=1)
    flat = world.model()
    expected = flat.params + ours.train(world, flat, ("eager", "float32")).deltas[0]
    made = [world.classifier()]
    monkeypatch.setattr(World, "classifier", lambda world: made[0])
    run = yardsticks.plain_loop(world)
    run()
    run()  # it starts anew each time
    trained = FlatModel(made[0]).params
    assert float((trained - flat.params).norm()) > 1e-3
    torch.testing.assert_close(trained, expected, rtol=1e-3, atol=1e-5)


def test_the_usual_loop_sees_the_same_images_and_learns():
    world = make_world("cnn", "cpu", 1, 12, batch_size=12, epochs=1, tests=1)
    normalize, train = world.federation.normalize, world.data.train
    pictures = yardsticks.Pictures(train, world.data.mean, world.data.std)
    images = torch.stack([pictures[i][0] for i in range(12)])
    torch.testing.assert_close(images, normalize(normalize.pixels(train.images)))
    assert [pictures[i][1] for i in range(12)] == train.labels.tolist()
    with torch.no_grad():
        untrained = torch.nn.functional.cross_entropy(world.model().model(images), train.labels)
    assert yardsticks.usual_loop(world)() == pytest.approx(float(untrained), rel=1e-4)  # its first step
    hyper = replace(world.federation.hyper, epochs=8, lr=0.05)
    longer = replace(world, federation=replace(world.federation, hyper=hyper))
    assert yardsticks.usual_loop(longer)() < float(untrained) - 0.05


def test_a_round_has_all_its_parts():
    scale = replace(choose("cpu", "cnn", quick=True, images=4), clients=5, rounds=1)
    ceilings = Ceilings({"float32": 1e9}, 1e12)  # so that FLOPs decide
    found = {r.defense: r for r in measure_rounds("cnn", "cpu", scale, ceilings, count_work("cnn"))}
    assert list(found) == ["fedavg", "flame", "clip-fed"]
    for round_ in found.values():
        assert set(round_.seconds) == set(PARTS)
        assert min(round_.seconds[part].median for part in ("local", "defense", "evaluate")) > 0
        assert 0 < round_.outside_share.median < 1
        assert (round_.clients, round_.client_images, round_.epochs) == (5, 4, 2)
    assert found["clip-fed"].seconds["purify"].median > 10 * found["fedavg"].seconds["purify"].median
    assert [r.server_images for r in found.values()] == [0, 0, 10]
    # 4 honest clients of 4 images and a malicious one that trains on 8, for two epochs of one step each.
    flops = 2 * (4 * 4 + 8) * count_work("cnn").train_flops
    assert found["fedavg"].floor["local"] == pytest.approx(flops / 1e9)


def test_outside_share_by_hand():
    parts = {"local": 8.0, "attack": 0.5, "defense": 1.0, "other": 0.5, "purify": 100.0, "evaluate": 50.0}
    assert outside_share(parts) == pytest.approx(2 / 10)
    assert math.isnan(outside_share(dict.fromkeys(PARTS, 0.0)))


def test_every_defense_aggregates_or_says_why_not():
    scale = replace(choose("cpu", "cnn", quick=True, images=1), counts=(4,), aggregation_seconds=60)
    work = count_work("cnn")
    found = list(measure_aggregations("cnn", "cpu", scale, FAST, work))
    assert [a.defense for a in found] == list(defenses())
    assert [a.defense for a in found if not a.milliseconds or a.milliseconds.median <= 0] == []
    assert {a.note for a in found} == {"", *aggregation.NOTES.values()}
    assert found[0].floor_ms == pytest.approx(1e3 * 4 * 5 * work.params / 1e10)


def test_processes_are_compared_by_what_they_do_together():
    def process(link, seconds):
        while link.recv() == "work":
            time.sleep(0.02)
            link.send(seconds)

    pipes = [Pipe() for _ in range(2)]
    workers = [Thread(target=process, args=(theirs, s)) for (_, theirs), s in zip(pipes, (2.0, 3.0), strict=True)]
    for worker in workers:
        worker.start()
    links = [ours for ours, _ in pipes]
    one, two = compare("cnn", links, replace(choose("cpu", "cnn", quick=True), scaling_images=60))
    for link in links:
        link.send("end")
    for worker in workers:
        worker.join()
    assert (one.processes, two.processes) == (1, 2)
    assert one.images_per_cpu_second == Spread(30.0, 30.0, 30.0)
    assert two.images_per_cpu_second.median == 60 / 2.5
    assert one.times_one == ONE
    assert 1 < two.times_one.median < 2.1  # they sleep at the same time
    assert one.images_per_second.median <= 60 / 0.02


def test_best_number_of_processes():
    rates = {1: 100.0, 2: 180.0, 3: 199.0, 4: 200.0}
    measured = [Scaling("cnn", n, Spread(rate, rate, rate), ONE, ONE) for n, rate in rates.items()]
    assert best_number(measured) == 3


def test_targets_hold_for_what_was_measured():
    assert target("x", 0.97, 0.97).met
    assert not target("x", 0.96, 0.97).met
    assert target("x", 4.0, 5.0, at_least=False).met
    fast, slow = Spread(1.6, 1, 2), Spread(1.4, 1, 2)
    way = ("eager", "float32")
    steps = [
        Step("cnn", *way, 64, ONE, ONE, 1.0, ONE, fast),
        Step("cnn", *way, 16, ONE, ONE, 1.0, ONE, slow),  # another batch size is no target's
        Step("cnn", PLAIN, "float32", 64, ONE, ONE, 1.0, None, None),
        Step("cnn", "eager", "bfloat16", 64, ONE, Spread(0.9, 1, 1), 1.0, ONE, fast),  # slower, so nobody's choice
        Step("resnet18", *way, 16, ONE, ONE, 1.0, slow, slow),
        Step("resnet18", "eager", "bfloat16", 16, ONE, fast, 1.0, ONE, fast),
    ]
    made = targets("cpu", way, steps, [], [], [Scaling("cnn", 2, ONE, ONE, Spread(1.9, 1.8, 2))])
    assert [(t.measured, t.bound, t.met) for t in made] == [
        *((1.0, 0.97, True), (1.6, 1.5, True), (1.4, 0.97, True), (1.4, 1.5, False)),
        *((1.0, 0.97, True), (1.6, 1.5, True), (1.9, 1.8, True)),
    ]
    assert [t.what.split(":")[0] for t in made[4:6]] == 2 * ["resnet18, batch 16, bfloat16"]
    quickly, slowly = (Aggregation("cnn", n, 10, 1, Spread(ms, ms, ms), 1.0) for n, ms in (("a", 40), ("b", 600.0)))
    trained = [replace(steps[0], images_per_second=Spread(1e4, 1e4, 1e4))]  # a round takes a second
    shares = targets("cpu", way, trained, [], [quickly, replace(quickly, clients=50), slowly], [])[2:]
    assert [(round(t.measured, 2), t.met) for t in shares] == [(3.85, True), (37.5, False)]
    quick = [replace(steps[0], model="resnet18", images_per_second=Spread(41_000, 1, 1))]
    assert [(t.unit, t.met) for t in targets("cuda", way, quick, [], [], [])] == [
        ("", True),
        ("×", False),
        ("×", False),
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the command writes, on a small scale: few updates, and one process, which takes seconds to start."""
    folder = tmp_path_factory.mktemp("bench")

    def small(*arguments):
        return replace(choose(*arguments), counts=(4,), repetitions=2, scaling_repetitions=2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.run.choose", small)
        patch.setattr("benchmarks.run.PROCESSES", {"cpu": 1})
        for name in THREADS:
            patch.setenv(name, "1")  # which the command does for good
        arguments = ["bench", "--quick", "--device=cpu", "--model=cnn", "--images=1"]
        arguments += [f"--json={folder / 'figures.json'}", f"--markdown={folder / 'tables.md'}"]
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "Whole rounds, cnn" in done.output
    return folder


def test_bench_needs_the_source(monkeypatch, tmp_path):
    monkeypatch.setattr("clipfed_bench.cli.bench.__file__", str(tmp_path / "clipfed_bench" / "cli" / "bench.py"))
    with pytest.raises(
        UserError, match=r"^bench measures the project itself and is run from its source \(make bench\)"
    ):
        CliRunner().invoke(app, ["bench", "--quick"], catch_exceptions=False)


@pytest.fixture(scope="module")
def result(files):
    return json.loads((files / "figures.json").read_text())


def test_result_has_its_schema(result):
    assert result["schema"] == 1
    who = ours.default("cpu", "cnn")[0]  # by what is installed
    assert (result["model"], result["executor"], result["precision"]) == ("cnn", who, "float32")
    names = ["ratio_plain_loop", "ratio_usual_loop", "images_per_second", "seconds"]
    assert all(isinstance(result[name], float) and result[name] > 0 for name in names)
    assert result["cells_per_gpu"] is None
    assert {s["who"] for s in result["steps"]} == {who, "eager", PLAIN, USUAL}
    assert [k["batch_size"] for k in result["kernels"]] == ([64, 32, 16] if who == "numba" else [])
    mine = next(s for s in result["steps"] if s["who"] == who)
    assert mine["ratio_plain_loop"]["median"] == result["ratio_plain_loop"]
    assert mine["times_floor"] == pytest.approx(mine["step_ms"]["median"] / mine["floor_ms"])
    assert {(a["defense"], a["clients"]) for a in result["aggregations"]} == {(d, 4) for d in defenses()}
    assert [s["processes"] for s in result["scaling"]] == [1]
    assert result["scaling"][0]["times_one"] == asdict(ONE)
    assert {"device_name", "version_torch", "git_sha", "cores", "threads", "clock"} <= set(result["machine"])


def test_tables_say_what_was_measured(files, result):
    tables = text.sections(result)
    page = (files / "tables.md").read_text()
    assert page == markdown(*tables)
    assert page.startswith("**Targets**\n\n| target ")
    for heading in ("Ceilings", "Training steps, cnn", "Whole rounds, cnn", "Aggregation, cnn", "Processes at once"):
        assert f"\n**{heading}**\n" in page
    assert all(len(row) == 1 + len(table.heads) for table in tables for row in table.rows)
    aggregation = next(t for t in tables if t.title.startswith("Aggregation"))
    assert [row[0] for row in aggregation.rows] == list(defenses())


def test_tables_by_hand():
    entry = {"model": "m", "clients": 10, "floor_ms": 0.5, "note": "", "milliseconds": None}
    entries = [
        {**entry, "defense": "a", "milliseconds": {"median": 2.0, "low": 1.0, "high": 3.0}},
        {**entry, "defense": "b", "note": "left out: so"},
    ]
    table = text.aggregation_table(entries, "m")
    assert table.rows == (("a", "2.00 (4.00 ×)"), ("b", "left out: so"))
    assert markdown(replace(table, notes=())).splitlines() == [
        "**Aggregation, m**",
        "",
        "| ms   |        K = 10 |",
        "|:-----|--------------:|",
        "| a    | 2.00 (4.00 ×) |",
        "| b    |  left out: so |",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1234.5, "1,234"),
        (100.0, "100"),
        (99.96, "100"),
        (1.234, "1.23"),
        (0.05, "0.0500"),
        (7e-6, "7.0e-06"),
    ],
)
def test_numbers(value, shown):
    assert text.number(value) == shown


def test_memory_is_a_table_of_its_own() -> None:
    entry = {"model": "m", "params": 1_000_000, "defense": "krum", "clients": 10, "peak_bytes": 2.5e6}
    other = entry | {"clients": 50, "peak_bytes": None}
    table = text.memory_table([entry, other], "m")
    assert (table.corner, table.heads) == (("MB",), (("K = 10",), ("K = 50",)))
    assert table.rows == (("the updates", "40.0", "200"), ("krum", "2.50", "–"))
    assert text.memory_table([entry | {"peak_bytes": float("nan")}], "m").rows[1] == ("krum", "–")
