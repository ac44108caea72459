"""Models compute what their descriptions say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clipfed_bench.models.build import build_model


def test_pooling_before_relu_is_relu_before_pooling_to_the_bit():
    model, twin = build_model("cnn", 10, 0), build_model("cnn", 10, 0)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (model, twin)]
    stream = torch.Generator().manual_seed(0)

    def usual(images):
        for convolution, norm in ((0, 1), (4, 5), (8, 9)):
            images = twin.convolutions[norm](twin.convolutions[convolution](images))
            images = F.max_pool2d(F.relu(images), 2)
        return twin.classifier(F.relu(twin.hidden(torch.flatten(images, 1))))

    for step in range(12):
        images = torch.rand(24, 3, 32, 32, generator=stream).contiguous(memory_format=torch.channels_last)
        images[: 2 * step] = images[: 2 * step].round()  # equal values, of which pooling takes one
        labels = torch.randint(0, 10, (24,), generator=stream)
        for optimizer, forward in zip(optimizers, (model, usual), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(forward(images), labels).backward()
            optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))


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
