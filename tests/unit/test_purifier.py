"""Cells of one process share CLIP-Fed's recorded steps, and get the numbers that they get alone, to the bit."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tape import FORBIDDEN, TapeRecorder
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.world import WIDTH, make_world
from clipfed_bench.api import Defense, RoundContext, ServerContext
from clipfed_bench.clipfed import purifier as module
from clipfed_bench.clipfed.purifier import Purifier, find_purifier
from clipfed_bench.clipfed.server_set import Augmentation, ServerSet, build_server_set
from clipfed_bench.clipfed.steps import Schedule
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.core import work_counts as counts
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.compute import Compute

SCHEDULE = Schedule(1, 8, 0.01, 0.9, 1.0)


@pytest.fixture(autouse=True)
def _a_process_of_its_own() -> Iterator[None]:
    forget()
    counts.take()
    yield
    forget()


def forget() -> None:
    """What a new process starts with."""
    module._purifiers = module._Recent(2)


def server(images: int = 10, compute: Compute | None = None) -> ServerContext:
    return make_world("cnn", "cpu", 1, 4, 4, 1, 4).server(images, compute or Compute())


def recording() -> Compute:
    return Compute(graphs=True, record=TapeRecorder())


def server_set(context: ServerContext) -> ServerSet:
    return build_server_set(context, Augmentation("none", 6, 1.0, "badnets"))


class Normed(Classifier):
    """The smallest model that has running statistics."""

    def __init__(self, width: int) -> None:
        super().__init__(None, (3, 32, 32), 10)
        self.convolution = nn.Sequential(nn.Conv2d(3, width, 3, stride=4), nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, 10)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.convolution(images)
        return found.mean(dim=(2, 3))


def build(model: str, seed: int) -> Classifier:
    if model == "cnn":
        return build_model(model, 10, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Normed({"normed": 8, "normed, as wide as the teacher": WIDTH}[model])


class Cell:
    """A cell's model and defense. Models differ by ``seed``."""

    def __init__(self, context: ServerContext, seed: int = 0, model: str = "cnn", **options: Any) -> None:
        defaults = {"batch_size": 8, "rectify_epochs": 2, "augment": "none"}
        context = replace(context, seed=seed)
        self.defense: Defense = create_defense(choose("defense", "clip-fed", **(defaults | options)), context)
        self.flat, self.seed, self.round = FlatModel(build(model, seed)), seed, 0

    def play(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.round += 1
            self.flat.params += 1e-3  # what clients send
            self.defense.purify(self.flat.model, RoundContext(self.round, self.seed))

    @property
    def numbers(self) -> list[torch.Tensor]:
        return [self.flat.params.clone(), self.flat.buffers.clone(), *self.defense.state().values()]

    def is_as(self, other: list[torch.Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(self.numbers, other, strict=True))


def alone(*arguments: Any, rounds: int = 2, **options: Any) -> list[torch.Tensor]:
    """The numbers of a cell in a process of its own."""
    forget()
    cell = Cell(*arguments, **options)
    cell.play(rounds)
    forget()
    counts.take()
    return cell.numbers


@pytest.mark.parametrize(
    ("model", "graphs"),
    [("cnn", False), ("cnn", True), ("normed", False), ("normed", True), ("normed, as wide as the teacher", True)],
)
def test_cells_that_alternate_do_not_disturb_each_other(model: str, graphs: bool) -> None:
    context = server(compute=recording() if graphs else None)
    expected = [alone(context, seed, model) for seed in (0, 1)]
    cells = [Cell(context, seed, model) for seed in (0, 1)]
    for _ in range(2):
        for cell in cells:
            cell.play()
    assert all(cell.is_as(numbers) for cell, numbers in zip(cells, expected, strict=True))
    assert len(cells[0].defense.state()) == ("teacher" not in model)  # only where widths differ there is a projection
    assert not cells[0].is_as(expected[1])
    assert not cells[0].flat.grad.any()
    assert counts.take() == ({"recorded step": 4} if graphs else {})  # batches of 8 and 2, in both phases


def test_one_cell_after_the_other_replays_its_steps_with_other_settings_too() -> None:
    context = server(compute=recording())
    grid: list[dict[str, Any]] = [{}, {"transfer": False}, {"rectify": False}, {"tau": 0.5}, {"beta": 3.0}, {}]
    expected = [alone(context, 1, **options) for options in grid]
    recorded = []
    for options, numbers in zip(grid, expected, strict=True):
        cell = Cell(context, 1, **options)
        cell.play(2)
        assert cell.is_as(numbers)
        recorded.append(counts.take().get("recorded step", 0))
    assert recorded == [4, 0, 0, 2, 2, 0]
    assert not torch.equal(expected[0][0], expected[3][0])
    assert not torch.equal(expected[0][0], expected[4][0])


def test_recorded_rounds_are_the_plain_ones() -> None:
    found, expected = (alone(server(compute=compute), rounds=3) for compute in (recording(), Compute()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_a_round_that_fails_leaves_nothing_behind() -> None:
    context = server(compute=recording())
    expected = alone(context)

    def fail(_: torch.Generator) -> None:
        raise MemoryError

    other = build_model("cnn", 10, 7)
    purifier = find_purifier(other, server_set(context), context.compute)
    phases = [(step, torch.Generator()) for step in (purifier.rectification(0.1, SCHEDULE), fail)]
    with pytest.raises(MemoryError):
        purifier(other, torch.ones(WIDTH, 128), phases)  # type: ignore[arg-type]
    cell = Cell(context)
    cell.play(2)
    assert cell.is_as(expected)


def test_cells_that_are_not_alike_share_nothing() -> None:
    context = server()
    model, data, compute = build_model("cnn", 10, 0), server_set(context), Compute()
    purifier = find_purifier(model, data, compute)
    assert find_purifier(build_model("cnn", 10, 1), server_set(replace(context, seed=1)), Compute()) is purifier
    others = (
        (build_model("cnn", 11, 0), data, compute),
        (build("normed", 0), data, compute),
        (model, replace(data), compute),
        (model, data, recording()),
    )
    for other in others:
        assert find_purifier(model, data, compute) is purifier  # keeps it among the last two
        assert find_purifier(*other) is not purifier
    phase = purifier.rectification(0.1, SCHEDULE)
    assert purifier.rectification(0.1, replace(SCHEDULE)) is phase
    assert purifier.rectification(0.1, replace(SCHEDULE, lr=0.1)) is not phase
    assert purifier.rectification(0.2, SCHEDULE) is not phase
    transfer = purifier.transfer(1.0, 3.0, SCHEDULE)
    assert purifier.transfer(1.0, 3.0, SCHEDULE) is transfer
    assert purifier.transfer(1.0, 1.0, SCHEDULE) is not transfer
    assert purifier.rectification(0.1, SCHEDULE) is not phase  # four others were asked for since


def test_memory_is_given_back_when_two_others_come() -> None:
    context = server(compute=recording())
    Cell(context).play()
    gone = weakref.ref(next(iter(module._purifiers._values.values())))
    Cell(server(11, compute=context.compute)).play()
    assert gone() is not None
    Cell(server(12, compute=context.compute)).play()
    assert gone() is None  # at once, not when garbage is collected


class NothingIsRead(TorchDispatchMode):
    """An error if a value or a shape has to come from the device, were this one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        masks = [i for i in args[1] if i is not None and i.dtype == torch.bool] if name == "index" else []
        if masks or name in FORBIDDEN - {"randperm"}:  # which batches are next is drawn on the host
            raise RuntimeError(f"{name} waits")
        return func(*args, **(kwargs or {}))


def test_a_round_waits_for_nothing() -> None:
    cell, mask = Cell(server()), torch.tensor([True, False])
    with NothingIsRead():
        cell.play()
        with pytest.raises(RuntimeError, match="local_scalar_dense waits"):
            float(cell.flat.params[0])
        with pytest.raises(RuntimeError, match="index waits"):
            cell.flat.params[:2][mask]


def test_the_architecture_that_is_given_is_left_alone() -> None:
    flat = FlatModel(build("normed", 0))
    before = [t.clone() for t in flat.model.state_dict().values()]
    Purifier(flat.model, server_set(server()), Compute())
    assert all(torch.equal(a, b) for a, b in zip(flat.model.state_dict().values(), before, strict=True))
    assert flat.model.state_dict()["convolution.0.weight"].data_ptr() == flat.params.data_ptr()
