"""The bench on images of other shapes, and with other models."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks import yardsticks
from benchmarks.ceilings import Ceilings, count_work
from benchmarks.rounds import measure_rounds
from benchmarks.scale import choose
from benchmarks.world import make_world
from clipfed_bench.core.errors import UserError


@pytest.mark.parametrize(
    ("dataset", "shape", "classes"), [("mnist", (1, 28, 28), 10), ("tiny-imagenet", (3, 64, 64), 200)]
)
def test_a_round_on_images_of_another_shape(dataset, shape, classes):
    scale = replace(choose("cpu", "cnn", quick=True, images=2, dataset=dataset), clients=5, rounds=1)
    work = count_work("cnn", dataset)
    rounds = list(measure_rounds("cnn", "cpu", scale, Ceilings({"float32": 1e9}, 1e12), work))
    assert [r.defense for r in rounds] == ["fedavg", "flame", "clip-fed"]
    assert rounds[0].floor["local"] == pytest.approx(2 * (4 * 2 + 4) * work.train_flops / 1e9)
    side, maps = shape[1], 64 * (shape[1] // 8) ** 2
    products = [9 * shape[0] * 16 * side**2, 144 * 32 * (side // 2) ** 2, 288 * 64 * (side // 4) ** 2]
    assert work.forward_flops == 2 * (sum(products) + maps * 128 + 128 * classes)
    world = make_world("cnn", "cpu", 1, 4, batch_size=4, epochs=1, tests=1, dataset=dataset)
    assert world.data.train.images.shape == (4, *shape)
    assert yardsticks.usual_loop(world)() == pytest.approx(math.log(classes), abs=1)
    yardsticks.plain_loop(world)()


def test_amounts_follow_the_work():
    cnn, resnet = choose("cpu", "cnn", quick=False), choose("cpu", "resnet18", quick=False)
    assert (cnn.client_images, resnet.client_images) == (500, 16)
    assert choose("cpu", "cnn", quick=False, dataset="mnist") == replace(cnn, dataset="mnist")
    assert (
        choose("cpu", "resnet18", quick=False, dataset="tiny-imagenet").client_images == 4
    )  # of four times the pixels
    assert choose("cpu", "vgg11", quick=False).client_images > 40
    with pytest.raises(UserError, match="unknown model"):
        choose("cpu", "resnet19", quick=False)
