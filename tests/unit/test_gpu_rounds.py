"""Rounds on a GPU that tests pretend to have: they are those of the CPU, and the host waits where it decides."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fake_gpu import FakeGpu, fake_gpu
from tape import TapeRecorder
from torch import Tensor

from clipfed_bench.api import RoundContext
from clipfed_bench.clipfed import purifier, server_set
from clipfed_bench.components import registry
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator import shared
from clipfed_bench.simulator.aggregation import aggregate_updates
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.history import Log
from clipfed_bench.simulator.sampling import sample_clients
from clipfed_bench.simulator.training import new_training
from clipfed_bench.teacher.teacher import Teacher
from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.images import Dataset, Images, ServerData
from clipfed_bench.toolbox.triggers import DeviceConstant

WAITS = {"clip-fed": 2, "deepsight": 2, "flame": 2, "freqfed": 2, "krum": 2, "multi-krum": 2}
WAITS |= {"bucketing": 2, "bulyan": 2, "dnc": 2, "nnm": 2, "signguard": 2}
WAITS |= {"multi-metrics": 2, "rflbat": 2, "rkd": 2, "snowball": 4}
"""How often the host waits for the GPU in a round, by defense: once, to see whether the updates are finite,
and here once more, for distances that it clusters or ranks. A defense that is not in the table waits once."""

OPTIONS = {
    "deepsight": "deepsight[samples=8,seeds=2]",
    "rkd": "rkd[epochs=1]",
    "snowball": "snowball[keep=1,initial=2,tuning=1,hidden=8,latent=2]",
    "a3fl": "a3fl[epochs=2,unlearn_every=1,unlearn_epochs=1]",
    "iba": "iba[epochs=1,width=2]",
}
"""What makes it quick; there Snowball has two steps from the top."""
ATTACKS = [
    *(OPTIONS.get(name, name) for name in registry.attacks()),
    "frequency[variant=amplitude]",
    "afa[layers=all]",
    "model-replacement[alpha=0.5,bound=1]",
]


def images(count: int, seed: int, device: str) -> Images:
    stream = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=stream, dtype=torch.uint8)
    return Images(
        pixels.contiguous(memory_format=torch.channels_last).to(device), (torch.arange(count) % 10).to(device)
    )


class ATeacher(Teacher):
    """Of some pixels it makes features."""

    def __init__(self, device: str) -> None:
        self.device, self.logit_scale = torch.device(device), 10.0
        self.text_prototypes = F.normalize(torch.eye(10, 16) + 0.1, dim=1).to(device)

    def image_features(self, images: Tensor, *, cached: bool = True) -> Tensor:
        return F.normalize(images.flatten(1)[:, :16].float() + 1, dim=1).to(self.device)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    for cached in (shared.executor, server_set._build):
        cached.cache_clear()
    purifier._purifiers = purifier._Recent(2)


class Cell:
    """A cell with little data: six clients, two of them malicious; four play in a round, one of them malicious."""

    def __init__(
        self,
        device: str,
        attack: str = "badnets",
        defense: str = "fedavg",
        compute: Compute | None = None,
        **settings: Any,
    ) -> None:
        base = {"dataset": "digits", "model": "cnn", "clients": 6, "clients_per_round": 4, "malicious": 0.34}
        base |= {"rounds": 3, "local_epochs": 1, "batch_size": 3, "lr": 0.05, "partition": "iid", "min_samples": 1}
        base |= {"teacher": "local"} if defense == "clip-fed" else {}
        base |= {"server_data": "holdout:1"} if defense in ("clip-fed", "fltrust", "rkd") else {}
        spec = CellSpec(attack=attack, defense=OPTIONS.get(defense, defense), **base | settings)
        train, test = images(4 * spec.clients, 1, device), images(10, 2, device)
        data = Dataset("digits", tuple("0123456789"), train, test, (0.5,) * 3, (0.25,) * 3, "made for tests")
        server, teacher = ServerData(images(5, 3, "cpu"), ("",) * 5, "made for tests", "0"), ATeacher(device)
        setup = CellSetup(spec, Environment(device))
        setup.data = data
        setup.server_data, setup.teacher, setup.compute = server, teacher, compute or Compute(device)
        self.setup, self.training, self.attack, self.sets = setup, new_training(setup), setup.attack, setup.test_sets

    def play(self, rounds: int) -> Cell:
        for _ in range(rounds):
            self.training.play(self.attack)
        return self

    def evaluate(self) -> dict[str, float]:
        training = self.training
        training.log.evaluate(training.done, lambda: self.setup.evaluate(training.flat.model, self.sets))
        return {name: value for name, value in training.log.rows[-1].items() if not name.startswith("seconds")}


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    with fake_gpu() as found:
        yield found


def waits_of_a_round(gpu: FakeGpu, one: Cell) -> list[str]:
    """Those of the second: what is made once has been made."""
    one.play(1)
    with gpu.waiting() as found:
        one.play(1)
    return found


def check_models(one: Cell, other: Cell) -> None:
    found, expected = one.training.flat, other.training.flat
    torch.testing.assert_close(found.params.cpu(), expected.params, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.buffers.cpu(), expected.buffers, rtol=1e-4, atol=1e-6)


def check_like_on_the_cpu(one: Cell, other: Cell) -> None:
    check_models(one, other)
    assert one.evaluate() == pytest.approx(other.evaluate(), nan_ok=True, rel=1e-4)
    rounds = other.training.log.state()["rounds"]
    assert one.training.log.state()["rounds"] == [pytest.approx(entry, nan_ok=True, rel=1e-4) for entry in rounds]


@pytest.mark.parametrize("defense", registry.defenses())
def test_defenses_wait_as_often_as_the_table_says(gpu: FakeGpu, defense: str) -> None:
    one = Cell("cuda", defense=defense, batch_size=4)
    found = waits_of_a_round(gpu, one)
    assert len(found) == WAITS.get(defense, 1), found
    assert all(wait.startswith("copies to the host") for wait in found)
    check_like_on_the_cpu(one, Cell("cpu", defense=defense, batch_size=4).play(2))


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_do_not_wait_but_to_choose(gpu: FakeGpu, attack: str) -> None:
    one = Cell("cuda", attack)
    found = waits_of_a_round(gpu, one)
    assert all(wait.startswith("copies to the host") for wait in found)
    if attack in ("afa", "layer"):  # which images it has, how much each layer counts, and after each that it takes
        modules = {name.rpartition(".")[0] for name in one.training.flat.layers}
        assert 1 + 2 < len(found) <= 1 + 2 + len(modules)
    elif (
        attack == "defense-aware"
    ):  # whether updates are finite and one is taken, in each of its trials, and Krum's own
        assert len(found) in (1 + 3, 1 + 3 * (1 + 10))
    else:
        assert len(found) == 1 + (attack == "threedfed"), found  # which reads what became of its last uploads
    check_like_on_the_cpu(one, Cell("cpu", attack).play(2))


def test_an_evaluation_reads_everything_at_once(gpu: FakeGpu) -> None:
    one = Cell("cuda", defense="krum").play(2)
    with gpu.waiting() as found:
        row = one.evaluate()
        assert one.training.log.state()["rounds"][0]["tpr"] in (0.0, 1.0)
    assert row["info_krum_malicious"] == 2
    assert [wait.partition(" (")[0] for wait in found] == ["copies to the host"] * 2 + ["waits for all of it"]


def test_figures_that_are_read_later_are_those_of_their_round(gpu: FakeGpu) -> None:
    log, bound = Log("cuda"), torch.zeros((), device="cuda")
    with gpu.waiting() as found:
        for _ in range(3):
            bound += 2
            log.selection(bound / 8, math.nan, 0, {"bound": bound, "plain": 1.0})
    assert found == []
    with gpu.waiting() as found:
        log.evaluation(3, {"mta": 0.5, "asr": 0.5})
    assert len(found) == 1
    row = log.rows[0]
    assert (row["tpr"], row["info_bound"], row["info_plain"]) == (0.5, 4.0, 1.0)
    assert math.isnan(row["fpr"])
    assert [entry["info_bound"] for entry in log.state()["rounds"]] == [2.0, 4.0, 6.0]


@pytest.mark.parametrize(("graphs", "streams"), [(False, 1), (True, 2)])
def test_neither_bfloat16_nor_recorded_steps_wait(gpu: FakeGpu, graphs: bool, streams: int) -> None:
    compute = Compute("cuda", "bfloat16", graphs, streams, TapeRecorder())
    one = Cell("cuda", "neurotoxin", "clip-fed", compute)
    assert len(waits_of_a_round(gpu, one)) == WAITS["clip-fed"]
    assert one.training.flat.params.dtype == torch.float32
    assert one.training.flat.params.isfinite().all()


@pytest.mark.parametrize("attack", ["badnets", "layer"])
def test_models_compute_only_where_a_gpu_can_load_16_bytes_at_a_time(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    """ResNet-18 has no multiple of four parameters, so that rows of a matrix of updates begin anywhere."""
    one, bind, bound = Cell("cuda", attack), FlatModel.bind, []

    def record(flat: FlatModel, params: Tensor, buffers: Tensor) -> None:
        bound.extend((params.storage_offset(), buffers.storage_offset()))
        bind(flat, params, buffers)

    monkeypatch.setattr(FlatModel, "bind", record)
    one.play(1)
    assert [offset for offset in bound if offset % 4] == []


def test_a_constant_is_there_before_another_stream_can_ask_for_it(gpu: FakeGpu) -> None:
    constant, device = DeviceConstant(torch.arange(3.0)), torch.device("cuda", 0)
    with gpu.waiting() as first:
        copied = constant.on(device)
    with gpu.waiting() as again:
        assert constant.on(device) is copied
    assert (len(first), len(again)) == (1, 0)


def test_a_round_of_the_large_model(gpu: FakeGpu) -> None:
    few = {"model": "resnet18", "clients": 2, "clients_per_round": 2, "malicious": 0.5, "batch_size": 4}
    one = Cell("cuda", defense="foolsgold", **few)
    assert len(waits_of_a_round(gpu, one)) == 1
    check_models(one, Cell("cpu", defense="foolsgold", **few).play(2))


def test_updates_that_are_not_finite_cost_one_more(gpu: FakeGpu) -> None:
    training = Cell("cuda", defense="krum").training
    updates = training.federation.train(training.flat, 1, sample_clients(training.spec, 1), None)
    updates.deltas[1, 5] = torch.inf
    with gpu.waiting() as found:
        result, judged = aggregate_updates(training.defense, updates, RoundContext(1))
    assert len(found) == WAITS["krum"] + 1
    assert judged == updates.clients[:1] + updates.clients[2:]
    assert result.kept is not None
    assert (result.kept.sum().item(), len(result.kept)) == (1, 3)
