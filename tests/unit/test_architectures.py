"""Models that can be trained: of any shape, from the seed alone, and the networks that their papers describe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from clipfed_bench.components.described import describe
from clipfed_bench.components.registry import choose, models
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.execution.estimate import RESNET18_FLOPS, TRAINED_PER_SECOND, trained_per_second
from clipfed_bench.models.build import build_model
from clipfed_bench.models.catalog import recipe
from clipfed_bench.models.counts import sizes, training_flops
from clipfed_bench.models.flat import FlatModel

SHAPES = [(3, 32, 32), (1, 28, 28), (3, 64, 64)]


@pytest.mark.parametrize("name", models())
def test_it_takes_images_of_any_shape_and_depends_on_the_seed_alone(name: str) -> None:
    for shape in SHAPES:
        assert sizes(choose("model", name), 7, shape)[0] > 7
        assert training_flops(choose("model", name), 7, shape) > 0
    model, again, other = (build_model(name, 7, seed, image_shape=(1, 28, 28)).eval() for seed in (0, 0, 1))
    assert FlatModel(model).params.numel() == sizes(choose("model", name), 7, (1, 28, 28))[0]
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(images)
        assert logits.shape == (2, 7)
        assert torch.equal(logits, again(images))
        assert not torch.equal(logits, other(images))
        torch.testing.assert_close(logits, model.classifier(model.features(images)))


@pytest.mark.parametrize("name", [name for name in models() if name != "resnet18"])
def test_it_learns_at_its_own_settings(name: str) -> None:
    usual = recipe(choose("model", name))
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(8) % 2
    images = torch.randn(8, 1, 16, 16, generator=draw) * 0.1 + (2.0 * labels - 1)[:, None, None, None]
    model = build_model(name, 2, 0, image_shape=(1, 16, 16)).train()
    step = torch.optim.SGD(model.parameters(), lr=usual["lr"], momentum=0.9)
    losses = []
    for _ in range(12):
        losses.append(F.cross_entropy(model(images), labels))
        step.zero_grad()
        losses[-1].backward()
        step.step()
    assert losses[-1].item() < 0.5 * losses[0].item()


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("resnet18", (3, 32, 32), 11_173_962),
        ("resnet20", (3, 32, 32), 269_722),
        ("vgg11", (3, 32, 32), 9_228_362),
        ("lenet5", (1, 28, 28), 61_706),
        ("lenet5", (1, 32, 32), 61_706),
        ("cnn", (3, 32, 32), 156_186),
        ("cnn[width=32]", (3, 32, 32), 357_034),
    ],
)
def test_it_is_as_large_as_the_network_that_it_is(name: str, shape: tuple[int, int, int], parameters: int) -> None:
    """61,706 is LeNet-5 with all maps connected, 0.27 M the ResNet paper's Table 6."""
    assert sizes(choose("model", name), 10, shape)[0] == parameters


def test_shortcuts_of_resnet20_have_no_parameters() -> None:
    """Option A: every second pixel, and zeros for the channels that are new."""
    block = build_model("resnet20", 10, 0).eval().blocks[3]  # type: ignore[index]
    images = torch.rand(2, 16, 8, 8)
    with torch.no_grad():
        block.bn2.weight.zero_()
        out = block(images)
    assert torch.equal(out[:, :16], images[:, :, ::2, ::2])
    assert (out[:, 16:] == 0).all()


def test_a_models_options_are_part_of_its_label_and_the_old_names_are_what_they_were() -> None:
    cells = [CellSpec(model=text) for text in ("cnn", "cnn[width=16]", "cnn[width=32]", "resnet18")]  # type: ignore[arg-type]
    assert cells[0] == cells[1]
    assert len({cell.key for cell in cells}) == len({cell.warmup_key for cell in cells}) == 3
    assert [cell.as_dict()["model"] for cell in cells] == ["cnn", "cnn", "cnn[width=32]", "resnet18"]
    assert [(cell.lr, cell.batch_size, cell.warmup_rounds) for cell in cells[2:]] == [(0.01, 16, 60), (0.1, 64, 0)]


def test_where_no_rate_was_measured_flops_tell() -> None:
    known = training_flops(choose("model", "resnet18"), 10, (3, 32, 32))
    assert known == pytest.approx(RESNET18_FLOPS, rel=0.01)
    way = ("cpu", "float32")
    rates, less = TRAINED_PER_SECOND[way], training_flops(choose("model", "vgg11"), 10, (3, 32, 32))
    vgg, small = (CellSpec(model=name) for name in ("vgg11", "lenet5"))  # type: ignore[arg-type]
    assert trained_per_second(vgg, way) == pytest.approx(rates["resnet18"] * known / less, rel=0.01)
    assert trained_per_second(small, way) == rates["cnn"], "no faster than the fastest that was measured"


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("cnn[width=12]", (3, 32, 32), "width is 12; it must be a multiple of 8"),
        ("cnn", (1, 7, 28), "images of 7×28 are too small; 8×8 pixels are needed"),
        ("lenet5", (1, 8, 8), "images of 8×8 are too small; 16×16"),
        ("resnet19", (3, 32, 32), "unknown model 'resnet19'. Did you mean 'resnet18'"),
        ("lenet5[width=2]", (3, 32, 32), "model 'lenet5' has no options"),
    ],
)
def test_what_is_impossible_is_told(name: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError) as error:
        build_model(name, 10, 0, image_shape=shape)
    assert message in str(error.value)


SOURCE = (Path(__file__).parents[2] / "architectures" / "lenet5.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("    lr = 0.05\n", "", "it must state its lr, as a literal: a number above 0"),
        ("lr = 0.05", "lr = 10 ** -2", "it must state its lr"),
        ("lr = 0.05", "lr = 0", "it must state its lr"),
        ("batch_size = 16", "batch_size = 1.5", "it must state its batch_size, as a literal: a whole number"),
        ("warmup_rounds = 0", "warmup_rounds = -1", "it must state its warmup_rounds"),
        ("(Classifier)", "(nn.Module)", "must define exactly one Classifier"),
    ],
)
def test_a_model_that_does_not_state_how_it_is_trained_is_told(
    before: str, after: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE.replace(before, after))
    with pytest.raises(UserError) as error:
        describe("model", "mine", "mine", str(path))
    assert message in str(error.value)
