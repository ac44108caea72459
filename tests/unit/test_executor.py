"""Clients train the same, to the bit, whether steps run as they are or are recorded and repeated."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from makers.images import random_images
from tape import TapeRecorder
from torch import Tensor

from clipfed_bench.api import AttackContext, GradientRule, LocalContext
from clipfed_bench.components.registry import choose, create_attack
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.local import Hyper, Task, batches
from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.images import Normalizer

PLAIN = Normalizer((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
HYPER = Hyper(epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=1e-3)


def task(client: int, count: int) -> Task:
    return Task(random_images(count, client), batches(count, HYPER, seed=3, round_=1, client=client))


def trained(executor: Executor, tasks: list[Task], model: str) -> tuple[Tensor, Tensor]:
    flat = FlatModel(build_model(model, 10, 5))
    deltas, statistics = torch.empty(len(tasks), flat.num_params), torch.empty(len(tasks), flat.num_buffers)
    executor.train(tasks, flat.params, flat.buffers, deltas, statistics)
    return deltas, statistics


def recording(**settings: int) -> tuple[Compute, TapeRecorder]:
    recorder = TapeRecorder()
    return Compute(graphs=True, record=recorder, **settings), recorder


def pair(model: str) -> tuple[Executor, Executor, TapeRecorder]:
    compute, recorder = recording()
    architecture = build_model(model, 10, 0)
    return Executor(architecture, PLAIN, HYPER), Executor(architecture, PLAIN, HYPER, compute), recorder


@pytest.mark.parametrize(("model", "counts"), [("cnn", (20, 16, 20, 3)), ("resnet20", (11, 3))])
def test_replayed_steps_are_the_plain_ones_to_the_bit(model: str, counts: tuple[int, ...]) -> None:
    plain, graphs, recorder = pair(model)
    expected = trained(plain, [task(c, n) for c, n in enumerate(counts)], model)
    for _ in range(2):  # the second round replays what the first one recorded
        found = trained(graphs, [task(c, n) for c, n in enumerate(counts)], model)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert recorder.recorded == len({size for n in counts for size in (8, n % 8) if 0 < size <= n})
    assert not torch.equal(expected[0][0], expected[0][1])
    assert recorder.replayed == 2 * 2 * sum(-(-n // 8) for n in counts)  # rounds, epochs: no step is run otherwise


def test_poisoned_batches_and_gradient_rules_are_replayed_too() -> None:
    attack = create_attack(choose("attack", "neurotoxin"), AttackContext(5, 10, (3, 32, 32)))
    flat = FlatModel(build_model("cnn", 10, 5))
    moved = torch.randn(flat.num_params, generator=torch.Generator().manual_seed(1))

    def tasks() -> list[Task]:
        rule = attack.gradient_rule(LocalContext(2, flat.params, moved))
        bad = replace(task(0, 20), poison=lambda x, y: attack.poison(x, y, attacker=0), rule=rule)
        return [bad, task(1, 20), replace(task(2, 12), poison=lambda x, y: attack.poison(x, y, attacker=1))]

    plain, graphs, recorder = pair("cnn")
    expected, found = trained(plain, tasks(), "cnn"), trained(graphs, tasks(), "cnn")
    assert torch.equal(found[0], expected[0])
    # Sizes 16 and 8 (with a copy of each poisoned batch) once without the update; 8, 4, 16 as whole steps.
    assert recorder.recorded == 5
    masked = moved.abs().topk(int(0.05 * len(moved))).indices
    assert float(expected[0][0][masked].abs().max()) < float(expected[0][2][masked].abs().max())


def test_a_rule_that_changes_from_round_to_round_is_not_recorded() -> None:
    _, graphs, _ = pair("cnn")

    def rule(keep: float) -> GradientRule:
        return lambda grad, params: grad * keep

    still = trained(graphs, [replace(task(0, 8), rule=rule(0.0))], "cnn")[0]
    moved = trained(graphs, [replace(task(0, 8), rule=rule(1.0))], "cnn")[0]
    assert float(moved.abs().max()) > 100 * float(still.abs().max())  # what is left is the weight decay


def test_lanes_take_turns_and_change_nothing() -> None:
    architecture = build_model("cnn", 10, 0)
    tasks = [12, 20, 8, 10, 16]
    expected = trained(Executor(architecture, PLAIN, HYPER), [task(c, n) for c, n in enumerate(tasks)], "cnn")
    compute, recorder = recording(streams=2)
    found = trained(Executor(architecture, PLAIN, HYPER, compute), [task(c, n) for c, n in enumerate(tasks)], "cnn")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)  # a plain row's place in memory is another
    assert recorder.recorded == 2 + 3  # sizes 8 and 4 in the first lane, 8, 4 and 2 in the second


def test_the_architecture_that_is_given_and_the_global_model_are_left_alone() -> None:
    architecture, flat = build_model("resnet20", 10, 0), FlatModel(build_model("resnet20", 10, 5))
    before = [t.clone() for t in (*architecture.state_dict().values(), flat.params, flat.buffers)]
    deltas, statistics = torch.empty(1, flat.num_params), torch.empty(1, flat.num_buffers)
    Executor(architecture, PLAIN, HYPER).train([task(0, 8)], flat.params, flat.buffers, deltas, statistics)
    after = (*architecture.state_dict().values(), flat.params, flat.buffers)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_step_that_reads_a_value_is_no_step() -> None:
    value = torch.ones(())
    with pytest.raises(RuntimeError, match="cannot be captured"):
        TapeRecorder(warmups=0)(lambda: print(value.item()))


def test_bfloat16_keeps_weights_gradients_and_updates_in_float32() -> None:
    compute = Compute(precision="bfloat16")
    architecture = build_model("cnn", 10, 0)
    plain = trained(Executor(architecture, PLAIN, HYPER), [task(0, 16)], "cnn")[0]
    found = trained(Executor(architecture, PLAIN, HYPER, compute), [task(0, 16)], "cnn")[0]
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())  # finer than bfloat16
    assert 0 < float((found - plain).norm() / plain.norm()) < 0.25  # pooling may take another of nearly equal pixels


def test_steps_in_bfloat16_are_recorded_like_others() -> None:
    architecture = build_model("cnn", 10, 0)
    plain = Compute(precision="bfloat16", record=TapeRecorder())
    expected = trained(Executor(architecture, PLAIN, HYPER, plain), [task(0, 16), task(1, 24)], "cnn")[0]
    graphs = Executor(architecture, PLAIN, HYPER, replace(plain, graphs=True))
    for _ in range(2):
        assert torch.equal(trained(graphs, [task(0, 16), task(1, 24)], "cnn")[0], expected)


@pytest.mark.parametrize("settings", [{"graphs": True}, {"precision": "float16"}])
def test_what_a_cpu_does_not_do(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"for GPUs|float32 or bfloat16"):
        Compute("cpu", **settings)  # type: ignore[arg-type]
