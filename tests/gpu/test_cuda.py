"""On a GPU: as on a CPU to stated tolerances, captured steps as plain ones, and no waiting in between.

Where there is no GPU these are reported as skipped; the recorded path itself is covered by a tape in
``tests/unit/test_executor.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch
from makers.specs import cell
from torch import Tensor

from clipfed_bench.api import AttackContext, ClientUpdates, LocalContext, RoundContext, ServerContext
from clipfed_bench.clipfed.purifier import Purifier
from clipfed_bench.clipfed.rectify_transfer import rectification, transfer
from clipfed_bench.clipfed.server_set import ServerSet
from clipfed_bench.clipfed.steps import Schedule
from clipfed_bench.components.registry import choose, create_attack, create_defense
from clipfed_bench.core.messages import Environment
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.local import Hyper, Task, batches
from clipfed_bench.simulator.stopwatch import Stopwatch
from clipfed_bench.simulator.training import new_training
from clipfed_bench.toolbox.compute import Compute, configure
from clipfed_bench.toolbox.images import Images, Normalizer

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it where sums have to be repeatable

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
HYPER = Hyper(epochs=2, batch_size=32, lr=0.02, momentum=0.9, weight_decay=5e-4)
COUNTS = (70, 64, 40)
"""Images of each client: ragged batches of 6 and 8, and none."""

CPU = Compute("cpu")
EAGER, GRAPH = Compute("cuda"), Compute("cuda", graphs=True)
FAST = Compute("cuda", "bfloat16", graphs=True)
ONE_STEP = {"cnn": 5e-3, "resnet18": 5e-2}
"""Relative distance of the updates of one step in float32: a unit at the kink of ReLU is on or off by a rounding error,
and there are many in ResNet-18. On a CPU a change of all weights by 1e-6 moves a first step by 1e-3 and 7e-3."""


def images(count: int, seed: int, device: str) -> Images:
    stream = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=stream, dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,), generator=stream)
    return Images(pixels.to(device).contiguous(memory_format=torch.channels_last), labels.to(device))


@contextmanager
def one_way_to_sum() -> Iterator[None]:
    """Sums that come out the same each time, whatever the order in which a GPU's threads finish."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def tasks(device: str, poisoned: bool = False) -> list[Task]:
    found = [Task(images(n, n, device), batches(n, HYPER, 3, 1, n)) for n in COUNTS]
    if poisoned:
        attack = create_attack(choose("attack", "neurotoxin"), AttackContext(5, 10, (3, 32, 32)))
        params = FlatModel(build_model("cnn", 10, 5)).params
        moved = torch.randn(len(params), generator=torch.Generator().manual_seed(1)).to(device)
        rule = attack.gradient_rule(LocalContext(2, params.to(device), moved))
        found[0] = replace(found[0], poison=lambda x, y: attack.poison(x, y, attacker=0), rule=rule)
        found[1] = replace(found[1], poison=lambda x, y: attack.poison(x, y, attacker=1))
    return found


def executor(model: str, compute: Compute) -> Executor:
    configure(compute)
    architecture = build_model(model, 10, 0).to(compute.device)
    return Executor(architecture, Normalizer(MEAN, STD, compute.device), HYPER, compute)


def trained(
    one: Executor, model: str, poisoned: bool = False, steps: int | None = None, moved: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Updates and statistics of a round, or of the first ``steps``, from weights that are ``moved`` by as much."""
    device = one.compute.device
    flat = FlatModel(build_model(model, 10, 5).to(device))
    flat.params *= 1 + moved * torch.randn(flat.num_params, generator=torch.Generator().manual_seed(1)).to(device)
    deltas = torch.empty(len(COUNTS), flat.num_params, device=device)
    statistics = torch.empty(len(COUNTS), flat.num_buffers, device=device)
    work = [replace(task, order=islice(task.order, steps)) for task in tasks(device, poisoned)]
    one.train(work, flat.params, flat.buffers, deltas, statistics)
    return deltas.cpu(), statistics.cpu()


@cache
def one_round(model: str, poisoned: bool = False) -> tuple[float, float]:
    """What updates and statistics of a round in float32 may differ by: three times what rounding errors make of them.

    Training is chaotic: weights that differ by 1e-6 give updates of ResNet-18 that differ by half on these images.
    """
    eager = executor(model, EAGER)
    expected, found = (trained(eager, model, poisoned, moved=moved) for moved in (0.0, 1e-6))
    return 3 * distance(found[0], expected[0]) + ONE_STEP[model], 3 * distance(found[1], expected[1]) + 1e-3


def distance(found: Tensor, expected: Tensor) -> float:
    """The largest over clients, relative to the size of the update."""
    if not expected.numel():
        return 0.0
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


@contextmanager
def nothing_waits() -> Iterator[None]:
    """An error if the host waits for the GPU."""
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("model", ["cnn", "resnet18"])
def test_one_round_on_the_gpu_is_that_on_the_cpu(model: str) -> None:
    expected, found = trained(executor(model, CPU), model), trained(executor(model, EAGER), model)
    updates, statistics = one_round(model)
    assert distance(found[0], expected[0]) < updates
    assert distance(found[1], expected[1]) < statistics


@pytest.mark.parametrize("compute", [EAGER, GRAPH], ids=["eager", "graph"])
@pytest.mark.parametrize("model", ["cnn", "resnet18"])
def test_one_step_on_the_gpu_is_that_on_the_cpu(model: str, compute: Compute) -> None:
    expected, found = trained(executor(model, CPU), model, steps=1), trained(executor(model, compute), model, steps=1)
    assert distance(found[0], expected[0]) < ONE_STEP[model]
    assert distance(found[1], expected[1]) < 1e-4


@pytest.mark.parametrize("poisoned", [False, True])
@pytest.mark.parametrize("streams", [1, 2])
def test_captured_steps_are_the_plain_ones(poisoned: bool, streams: int) -> None:
    expected = trained(executor("cnn", EAGER), "cnn", poisoned)
    captured = executor("cnn", replace(GRAPH, streams=streams))
    for _ in range(2):  # captured, then replayed
        assert distance(trained(captured, "cnn", poisoned)[0], expected[0]) < one_round("cnn", poisoned)[0]


def test_captured_steps_of_the_large_model_are_the_plain_ones() -> None:
    expected, captured = trained(executor("resnet18", EAGER), "resnet18"), executor("resnet18", GRAPH)
    for _ in range(2):
        found = trained(captured, "resnet18")
        updates, statistics = one_round("resnet18")
        assert distance(found[0], expected[0]) < updates
        assert distance(found[1], expected[1]) < statistics


def test_bfloat16_is_close_and_keeps_updates_in_float32() -> None:
    expected, found = trained(executor("cnn", EAGER), "cnn"), trained(executor("cnn", FAST), "cnn")
    assert found[0].dtype == torch.float32
    assert 0 < distance(found[0], expected[0]) < 0.15


@pytest.mark.parametrize("compute", [EAGER, GRAPH, FAST], ids=["eager", "graph", "bfloat16"])
def test_local_training_never_waits_for_the_gpu(compute: Compute) -> None:
    one = executor("cnn", compute)
    expected = trained(one, "cnn", poisoned=True)  # captures, and puts constants on the device
    flat = FlatModel(build_model("cnn", 10, 5).to("cuda"))
    deltas = torch.empty(len(COUNTS), flat.num_params, device="cuda")
    statistics = torch.empty(len(COUNTS), flat.num_buffers, device="cuda")
    work = tasks("cuda", poisoned=True)
    with nothing_waits():
        one.train(work, flat.params, flat.buffers, deltas, statistics)
    assert distance(deltas.cpu(), expected[0]) < 0.05


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize(("defense", "waits"), [("fedavg", 1), ("median", 1), ("foolsgold", 1), ("krum", 2)])
def test_a_round_waits_where_the_host_decides(
    defense: str, waits: int, graphs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the table of ``tests/unit/test_gpu_rounds.py`` says; what is read on purpose is read by ``cpu()``."""
    spec = cell(clients=10, clients_per_round=5, rounds=3, lr=0.02, defense=defense)
    env = Environment("cuda", warmup_dir=tmp_path, graphs=graphs)
    training = new_training(CellSetup(spec, env))
    attack = create_attack(choose("attack", "badnets"), AttackContext(5, 10, (3, 32, 32)))
    training.play(attack)  # captures, and puts constants on the device
    reads, copy = [], Tensor.cpu

    def read(tensor: Tensor) -> Tensor:
        torch.cuda.set_sync_debug_mode("default")
        reads.append(tensor.shape)
        host = copy(tensor)
        torch.cuda.set_sync_debug_mode("error")
        return host

    monkeypatch.setattr(Tensor, "cpu", read)
    with nothing_waits():
        training.play(attack)
    assert len(reads) == waits, reads


def server_set() -> ServerSet:
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(7)
    pixels = torch.randn(70, 3, 32, 32, generator=stream)
    prototypes = torch.nn.functional.normalize(torch.randn(10, 16, generator=stream), dim=1)
    on_gpu = [t.cuda() for t in (pixels, labels, 20 * torch.eye(10)[labels], prototypes, prototypes.roll(1, 1))]
    return ServerSet(*on_gpu, -1, 0.0)


def test_the_servers_steps_are_captured_too() -> None:
    data, schedule, found = server_set(), Schedule(2, 32, 0.01, 0.9, 1.0), []
    for compute in (EAGER, GRAPH, FAST):
        flat = FlatModel(build_model("cnn", 10, 0).cuda())
        projection = torch.nn.Linear(128, 16, bias=False).cuda()
        torch.nn.init.ones_(projection.weight)
        start = flat.params.clone()
        for round_ in range(2):
            shuffle = torch.Generator().manual_seed(round_)
            rectification(flat.model, projection, data, 0.1, schedule, compute)(shuffle)
            transfer(flat.model, data, 1.0, 3.0, schedule, compute)(shuffle)
        found.append((flat.params - start).cpu()[None])
    eager, graph, fast = found
    assert distance(graph, eager) < 5e-3
    assert 0 < distance(fast, eager) < 0.3


@pytest.mark.parametrize("compute", [EAGER, GRAPH, FAST], ids=["eager", "graph", "bfloat16"])
def test_cells_share_the_servers_steps_and_purification_never_waits(compute: Compute) -> None:
    data, schedule = server_set(), Schedule(2, 32, 0.01, 0.9, 1.0)

    class Cell:
        def __init__(self, seed: int) -> None:
            self.flat, self.seed = FlatModel(build_model("cnn", 10, seed).cuda()), seed
            self.projection, self.start = torch.ones(16, 128, device="cuda"), self.flat.params.clone()

        def play(self, purifier: Purifier) -> None:
            phases = purifier.rectification(0.1, schedule), purifier.transfer(1.0, 3.0, schedule)
            streams = [torch.Generator().manual_seed(self.seed) for _ in phases]
            purifier(self.flat.model, self.projection, zip(phases, streams, strict=True))

    def purifier() -> Purifier:
        return Purifier(build_model("cnn", 10, 0).cuda(), data, compute)

    with one_way_to_sum():
        alone, together, shared = [Cell(seed) for seed in (0, 1)], [Cell(seed) for seed in (0, 1)], purifier()
        for cell in alone:
            own = purifier()
            for _ in range(2):
                cell.play(own)
        together[0].play(shared)  # captures, and puts constants on the device
        with nothing_waits():
            for cell in (together[1], together[0], together[1]):
                cell.play(shared)
    limit = 5e-3 if compute.precision == "float32" else 0.05
    for one, other in zip(together, alone, strict=True):
        assert distance((one.flat.params - one.start)[None], (other.flat.params - other.start)[None]) < limit
        assert distance((one.projection - 1).view(1, -1), (other.projection - 1).view(1, -1)) < limit


def test_seconds_are_those_of_the_gpus_work() -> None:
    watch = Stopwatch("cuda", ("long", "short"))
    square = torch.randn(4096, 4096, device="cuda")
    for part, count in (("short", 1), ("long", 40)):
        with watch.timed(part):
            for _ in range(count):
                square @ square
    seconds = watch.seconds
    assert seconds["long"] > 5 * seconds["short"] > 0
    assert watch.seconds == seconds  # read once
    watch.reset()
    assert set(watch.seconds.values()) == {0.0}


def test_noise_is_drawn_on_the_gpu() -> None:
    size = 100_000
    with torch.device("cuda"):
        deltas, params, none = torch.ones(3, size), torch.zeros(size), torch.zeros(0)
    sizes = torch.ones(3, dtype=torch.float64)
    updates = ClientUpdates(deltas, none.repeat(3, 1), sizes, (0, 1, 2), params, none)
    server = ServerContext(10, tuple("0123456789"), MEAN, STD, device=torch.device("cuda"))
    defense = create_defense(choose("defense", "flame", noise=0.01), server)
    first, second, other = (defense.aggregate(updates, RoundContext(number)).delta for number in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    for delta in (first, other):
        assert float((delta - 1).std()) == pytest.approx(0.01 * size**0.5, rel=0.02)
        assert float((delta - 1).mean()) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("compute", [EAGER, GRAPH, replace(FAST, streams=2)], ids=["eager", "graph", "bfloat16"])
@pytest.mark.parametrize("defense", ["fedavg", "krum", "flame[noise=0]", "foolsgold"])  # a GPU draws other noise
def test_a_cell_is_that_on_a_cpu(defense: str, compute: Compute, tmp_path: Path) -> None:
    """Its first round: later ones start from models that rounding errors have moved apart."""
    spec = cell(clients=10, clients_per_round=5, rounds=1, lr=0.02, defense=defense, eval_every=1)
    expected = run_cell(spec, Environment(warmup_dir=tmp_path)).history
    settings = {"graphs": compute.graphs, "precision": compute.precision, "streams": compute.streams}
    found = run_cell(spec, Environment("cuda", warmup_dir=tmp_path, **settings))  # type: ignore[arg-type]
    assert found.provenance["precision"] == compute.precision
    for one, other in zip(expected, found.history, strict=True):
        assert other["mta"] == pytest.approx(one["mta"], abs=0.03)
        assert other["asr"] == pytest.approx(one["asr"], abs=0.05)
        if compute.precision == "float32":  # the same clients are kept
            assert [other["tpr"], other["fpr"]] == pytest.approx([one["tpr"], one["fpr"]], nan_ok=True)
