"""What the package promises, through the same functions that clipfed-bench calls."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clipfed_example.metrics.robust_accuracy import RobustAccuracy

from clipfed_bench.api import AttackContext, ClientUpdates, Recorded, RoundContext, ServerContext, TestOutputs
from clipfed_bench.components.registry import choose, create_attack, create_defense
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import CellResult, Environment, Progress, Report
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.partition import partition
from clipfed_bench.data.server_set.load import load_server_data
from clipfed_bench.execution.executor import make_executor
from clipfed_bench.execution.jobs import plan
from clipfed_bench.execution.worker import Settings
from clipfed_bench.models.build import build_model

TASK = AttackContext(target=0, num_classes=4, image_shape=(3, 32, 32))
SERVER = ServerContext(4, ("disk", "square", "diamond", "cross"), (0.5,) * 3, (0.25,) * 3)


def test_checkerboard() -> None:
    images = torch.full((2, 3, 32, 32), 0.5)
    out = create_attack(choose("attack", "checkerboard", size=2), TASK).trigger(images)
    assert out[1, 2, 30:, 30:].tolist() == [[0, 1], [1, 0]]
    assert (out[..., :30, :] == 0.5).all()
    with pytest.raises(UserError, match="size 33 is out of range; it goes from 1 to 32"):
        create_attack(choose("attack", "checkerboard", size=33), TASK)


def updates(deltas: torch.Tensor) -> ClientUpdates:
    count, size = deltas.shape
    return ClientUpdates(
        deltas,
        torch.zeros(count, 1),
        torch.ones(count).double(),
        tuple(range(count)),
        torch.zeros(size),
        torch.zeros(1),
    )


def test_geometric_median() -> None:
    """On a line it is the median, however far the outlier; of equal updates it is that update."""
    defense = create_defense(choose("defense", "geometric-median", steps=60), SERVER)
    line = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1000.0, 0.0]])
    assert defense.aggregate(updates(line), RoundContext(1)).delta.tolist() == pytest.approx([2.0, 0.0], abs=1e-3)
    same = torch.tensor([[3.0, -1.0]] * 4)
    assert defense.aggregate(updates(same), RoundContext(1)).delta.tolist() == [3.0, -1.0]


def test_label_quota() -> None:
    """Everybody holds as many classes as were asked for; owners of a class have equally many of its images."""
    labels = np.arange(400) % 4
    held = [np.bincount(labels[part.numpy()], minlength=4) for part in partition(labels, 4, 8, "label-quota")]
    assert [int((counts > 0).sum()) for counts in held] == [2] * 8
    assert all(counts[client % 4] > 0 for client, counts in enumerate(held))
    assert all(np.ptp([counts[label] for counts in held if counts[label]]) <= 1 for label in range(4))
    with pytest.raises(UserError, match="5 classes for each of 8 clients; from 1 to 4 classes"):
        partition(labels, 4, 8, "label-quota[classes=5]")


def test_two_layers() -> None:
    model = build_model("two-layers", 10, 0, image_shape=(1, 28, 28))
    assert sum(p.numel() for p in model.parameters()) == 199_210
    images = torch.rand(2, 1, 28, 28)
    hidden = (images.reshape(2, 784) @ model.hidden1.weight.T + model.hidden1.bias).relu()
    expected = (hidden @ model.hidden2.weight.T + model.hidden2.bias).relu()
    torch.testing.assert_close(model.features(images), expected)


def test_robust_accuracy() -> None:
    """An image that is not taken for the target counts only if it is taken for what it is."""
    logits = torch.eye(4)[[0, 1, 2, 2]]
    labels = torch.tensor([1, 1, 2, 3])
    measured = RobustAccuracy().measure(TestOutputs(logits, labels, logits, labels, target=0))
    assert float(measured) == 0.5
    assert RobustAccuracy().final([0.1, float(measured)], Recorded([], [])) == 0.5


def test_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are done here, in their order; one that fails does not stop the next."""

    def run_cell(spec: CellSpec, env: Environment, report: Report) -> CellResult:
        report(Progress("round", 1, 1))
        return CellResult([], {"mta": 1 / (1 - spec.seed)}, {})

    monkeypatch.setitem(sys.modules, "stand_in", SimpleNamespace(run_cell=run_cell))
    jobs = plan(CellSpec(dataset="digits", model="cnn", warmup_rounds=0, seed=seed) for seed in (0, 1, 2))
    settings = Settings(Environment(), tmp_path, runner="stand_in")
    events = list(make_executor("in-turn").execute(jobs, None, settings))
    ends = ("done", "failed", "done")
    assert [event.kind for event in events] == [kind for end in ends for kind in ("started", "step", end)]
    assert [event.outcome.final["mta"] for event in events if event.outcome] == [1.0, -1.0]
    quiet = list(make_executor("in-turn[steps=false]").execute(jobs[:1], None, settings))
    assert [event.kind for event in quiet] == ["started", "done"]


def test_shapes() -> None:
    data = load_dataset("shapes", Path.cwd())
    assert data.classes == ("disk", "square", "diamond", "cross")
    assert data.train.images.shape == (240, 1, 28, 28)
    assert data.test.labels.bincount().tolist() == [20] * 4
    assert data.source == load_dataset("shapes").source
    assert load_dataset("shapes-lt", imbalance_factor=4).train.labels.bincount().tolist() == [60, 37, 23, 15]


def test_the_servers_shapes() -> None:
    data = load_dataset("shapes")
    server = load_server_data("shapes-generated", data)
    assert server.data.labels.bincount().tolist() == [30] * 4
    assert server.captions[int((server.data.labels == 2).nonzero()[1])] == "a diamond on a plain ground."
    own = {image.tobytes() for image in data.train.images.numpy()}
    assert not any(image.tobytes() in own for image in server.data.images.numpy())
    assert len(np.unique(server.data.images.numpy(), axis=0)) == 120
