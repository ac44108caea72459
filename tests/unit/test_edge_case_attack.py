"""Edge cases: which images take whose place, which are kept for the test, and what a folder has to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers.attacks import TARGET, context
from makers.images import noise
from makers.specs import environment, small_cell
from miniature import miniature
from PIL import Image

from attacks import edge_case
from clipfed_bench.core.errors import UserError
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import evaluate

SHAPE = (3, 8, 8)


def folder_of(place: Path, count: int, side: int = 8) -> Path:
    """``count`` images of one gray each, 10, 20, ..., and a file that is none."""
    place.mkdir()
    (place / "notes.txt").write_text("which airline")
    for number in range(count):
        Image.new("RGB", (side, side), (10 * (number + 1),) * 3).save(place / f"{number:02}.png")
    return place


def make(images: Path | None, **options: Any) -> edge_case.EdgeCase:
    config = edge_case.Config(images=None if images is None else str(images), **options)
    return edge_case.EdgeCase(config, context(shape=SHAPE))


def grays(images: torch.Tensor) -> list[int]:
    """The level of each image, which is of one gray."""
    assert (images == images[:, :1, :1, :1]).all()
    return (images[:, 0, 0, 0] * 255).round().long().tolist()


def test_images_are_replaced_by_those_of_the_folder_and_the_test_has_its_own(tmp_path: Path) -> None:
    attack, images = make(folder_of(tmp_path / "set", 10)), noise(400, *SHAPE)
    trained, tested = (grays(out) for out in (attack.client_trigger(images, 1), attack.trigger(images)))
    assert len(set(trained)) == 8
    assert len(set(tested)) == 2
    assert sorted({*trained, *tested}) == [10 * number for number in range(1, 11)]
    assert max(trained.count(gray) for gray in set(trained)) < 400 / 8 * 1.6  # about as often as each other
    assert trained == grays(attack.client_trigger(images, 0))


def test_the_choice_by_the_sum_of_weighted_levels(tmp_path: Path) -> None:
    attack, images = make(folder_of(tmp_path / "set", 5), test=0.4), noise(20, *SHAPE, seed=3)
    weights = [int(value) for value in attack._weights.on(torch.device("cpu"))]
    known = grays(attack._train.on(torch.device("cpu")))
    levels = np.rint(images.flatten(1).double().numpy() * 255).astype(int).tolist()
    expected = [known[sum(w * v for w, v in zip(weights, row, strict=True)) % 3] for row in levels]
    assert grays(attack.client_trigger(images, 0)) == expected


def test_a_batch_is_poisoned_with_edge_cases_that_are_called_the_target(tmp_path: Path) -> None:
    images, labels = noise(6, *SHAPE), torch.arange(6)
    out, found = make(folder_of(tmp_path / "set", 4)).poison(images, labels, 0)
    assert torch.equal(out[:6], images)
    assert set(grays(out[6:])) <= {10, 20, 30, 40}
    assert found.tolist() == [0, 1, 2, 3, 4, 5, *[TARGET] * 6]


def test_images_are_resized_and_the_smallest_set_has_one_of_each(tmp_path: Path) -> None:
    attack = make(folder_of(tmp_path / "set", 2, side=20), test=0.9)
    images = noise(9, *SHAPE)
    trained, tested = (set(grays(out)) for out in (attack.client_trigger(images, 0), attack.trigger(images)))
    assert trained | tested == {10, 20}
    assert len(trained) == len(tested) == 1


def test_without_a_folder_mosaics_stand_in() -> None:
    assert len({tuple(image.flatten().tolist()) for image in edge_case.edge_cases(None, SHAPE)}) == edge_case.MOSAICS


@pytest.mark.parametrize("count", [None, 0, 1])
def test_a_folder_without_two_images(tmp_path: Path, count: int | None) -> None:
    place = tmp_path / "set" if count is None else folder_of(tmp_path / "set", count)
    with pytest.raises(UserError, match=rf"no folder with at least two images .*; {count or 0} found"):
        make(place)


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"test 1\.0 is not a share"):
        make(None, test=1.0)
    (folder_of(tmp_path / "set", 3) / "01.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"edge-case: image '.*01.png' cannot be read"):
        make(tmp_path / "set")


def test_edge_cases_that_were_not_trained_on_are_taken_for_the_target(tmp_path: Path) -> None:
    cell = small_cell(attack="edge-case", malicious=0.4, lr=0.1, attack_scale=2.0)
    with miniature(evaluate, train=4, test=4):
        found = run_cell(cell, environment(tmp_path))
    assert found.history[0]["asr"] < 0.5
    assert found.final["asr"] > 0.9
