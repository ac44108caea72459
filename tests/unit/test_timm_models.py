"""timm's networks as models: as timm has them, from the seed alone, and refused where they cannot be trained."""

from __future__ import annotations

import pytest
import timm
import torch
from makers.specs import small_cell
from miniature import miniature

from clipfed_bench.components.registry import choose, models
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.models.build import build_model
from clipfed_bench.models.counts import sizes, training_flops
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.cell import run_cell

SMALL = "timm:test_resnet[output_stride=8]"
SHAPES = [(3, 32, 32), (1, 28, 28), (3, 64, 64)]


NETWORKS = [*(("test_resnet", {"output_stride": 8}, shape) for shape in SHAPES), ("test_convnext", {}, SHAPES[0])]


@pytest.mark.parametrize(("name", "options", "shape"), NETWORKS)
def test_it_is_timms_network(name: str, options: dict[str, int], shape: tuple[int, int, int]) -> None:
    """Its parameters and running statistics; with equal ones its logits."""
    more = "".join(f"[{key}={value}]" for key, value in options.items())
    model = build_model(f"timm:{name}{more}", 7, 0, image_shape=shape).eval()
    theirs = timm.create_model(name, in_chans=shape[0], num_classes=7, **options).eval()
    head = theirs.get_classifier()
    pairs = zip(model.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert all(mine.shape == other.shape for mine, other in pairs)
    with torch.no_grad():
        theirs.load_state_dict(dict(zip(theirs.state_dict(), model.state_dict().values(), strict=True)))
        images = torch.rand(2, *shape)
        torch.testing.assert_close(model(images), theirs(images))
        assert torch.equal(head.weight, model.classifier.weight)
    flat = FlatModel(model)
    assert sizes(choose("model", f"timm:{name}{more}"), 7, shape) == (flat.num_params, flat.num_buffers)


def test_weights_depend_on_the_seed_alone() -> None:
    """Also where it was looked at before, which draws nothing of the stream."""
    import architectures.timm as module

    module._width.cache_clear()
    first, again, other = (FlatModel(build_model(SMALL, 7, seed)).params for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std() > 0


def test_nothing_is_dropped_at_random() -> None:
    with torch.device("meta"):
        usual = timm.create_model("nest_tiny", img_size=32)
        model = build_model("timm:nest_tiny", 7, 0)
    rates = [[getattr(m, rate, 0) or 0 for m in net.modules() for rate in ("drop_prob", "p")] for net in (usual, model)]
    assert max(rates[0]) > 0
    assert max(rates[1]) == 0


def test_clients_running_statistics_are_averaged() -> None:
    """A round of a cell: the global model's are other than at its beginning, as those of all models are."""
    cell = small_cell(model=SMALL, rounds=1, clients_per_round=4, malicious=0.5, attack="badnets")
    seen: list[dict[str, torch.Tensor]] = []

    def look(model: torch.nn.Module, sets: object) -> dict[str, float]:
        seen.append({name: buffer.clone() for name, buffer in model.named_buffers() if buffer.is_floating_point()})
        return {"mta": 0.0, "asr": 0.0}

    with miniature(look, train=12, test=60):
        run_cell(cell, Environment())
    fresh = dict(build_model(cell.model, 10, cell.seed).named_buffers())
    assert len(seen[-1]) == sum(buffer.is_floating_point() for buffer in fresh.values()) > 10
    assert all(value.isfinite().all() and not torch.equal(value, fresh[name]) for name, value in seen[-1].items())


def test_flops_are_counted_for_any_of_them() -> None:
    """Two for each product in convolutions and linear layers, and three times that to train."""
    model, products = build_model(SMALL, 7, 0).eval(), []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(lambda m, _, out: products.append(out.numel() * m.weight[0].numel()))
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    assert len(products) > 10
    assert training_flops(choose("model", SMALL), 7, (3, 32, 32)) == 3 * 2 * sum(products)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("timm:resnet18", (3, 32, 32), "sees a single value of each channel, so that a batch of one image"),
        ("timm:resnet18", (3, 32, 32), "Maps may be larger with timm:resnet18[output_stride=8]."),
        ("timm:resnet81", (3, 32, 32), "has no such model. Did you mean"),
        ("timm:test_vit[output_stride=8]", (3, 32, 32), "model timm:test_vit cannot be made for images of 32×32: "),
        ("timm:vit_tiny_patch16_224[output_stride=eight]", (3, 32, 32), "'eight' is not a whole number or none"),
    ],
)
def test_what_cannot_be_trained_says_why(name: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError) as raised:
        build_model(name, 10, 0, image_shape=shape)
    assert message in str(raised.value)


def test_other_state_than_running_statistics_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mean over clients would be of something that is none to be averaged."""
    import architectures.timm as module

    make = timm.create_model

    def with_state(*args: object, **more: object) -> torch.nn.Module:
        made = make(*args, **more)
        made.register_buffer("frequencies", torch.ones(3))
        return made

    monkeypatch.setattr(module.timm, "create_model", with_state)
    module._width.cache_clear()
    with pytest.raises(UserError, match="keeps 'frequencies', which is no BatchNorm's"):
        build_model(SMALL, 10, 0)
    module._width.cache_clear()


def test_it_is_no_model_by_itself_and_part_of_a_label() -> None:
    assert "timm" not in models()
    with pytest.raises(UserError, match=r"unknown model 'timm'.*timm:NAME"):
        choose("model", "timm")
    cells = [CellSpec(model=name) for name in ("timm:resnet18[output_stride=8]", "timm:resnet18", "resnet18")]
    assert len({cell.key for cell in cells}) == 3
