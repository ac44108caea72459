"""Models compute what their descriptions say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clipfed_bench.components.registry import choose
from clipfed_bench.core.errors import UserError
from clipfed_bench.models import counts
from clipfed_bench.models.build import build_model


def test_the_cnn_is_what_it_says():
    model = build_model("cnn", 10, 0).double()
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps = images
    for i in (0, 4, 8):
        maps = F.max_pool2d(F.conv2d(maps, model.convolutions[i].weight, padding=1), 2).relu()
        groups = maps.reshape(3, 8, -1)
        centered = groups - groups.mean(dim=2, keepdim=True)
        maps = (centered / (centered.square().mean(dim=2, keepdim=True) + 1e-5).sqrt()).reshape(maps.shape)
    values = maps.permute(0, 2, 3, 1).reshape(3, 1024) @ model.hidden.weight.T + model.hidden.bias
    torch.testing.assert_close(model.features(images), values.relu())


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_logits_are_float32_of_bfloat16_features(name):
    model = build_model(name, 10, 0).eval()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features, logits = model.features(images), model(images)
    assert features.dtype == torch.bfloat16
    weight, bias = model.classifier.weight.detach(), model.classifier.bias.detach()
    torch.testing.assert_close(logits, features.float() @ weight.T + bias, rtol=1e-5, atol=1e-5)
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (lambda images: images.flatten(1) @ torch.ones(2, 2), "raises "),
        (lambda images: images.mean(), "multiplies nothing"),
    ],
)
def test_a_model_that_cannot_be_counted_says_why(features, words, monkeypatch):
    class Strangers(torch.nn.Module):
        def forward(self, images):
            return features(images)

    monkeypatch.setattr(counts, "build_model", lambda *given, **more: Strangers())
    with pytest.raises(UserError, match=f"model 'lenet5': .*{words}"):
        counts.training_flops(choose("model", "lenet5"), 3, (1, 5, 5))
