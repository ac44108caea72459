"""ASR without a trigger: what an ASR comes to where there is no backdoor."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from makers.specs import small_cell
from torch import Tensor, nn

from clipfed_bench.core.messages import Environment
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import TestSets, evaluate


class Told(nn.Module):
    """Its logits are the first pixels of an image."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :3]


def images(said: list[int]) -> Tensor:
    """That are taken for these classes."""
    pixels = torch.zeros(len(said), 3, 8, 8)
    pixels[torch.arange(len(said)), 0, 0, said] = 1.0
    return pixels


def test_clean_images_of_other_classes_that_are_taken_for_the_target():
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2])
    clean, triggered = images([0, 1, 0, 1, 2, 0, 1]), images([0, 0, 0, 0, 1])
    sets = TestSets(clean, labels, triggered, 0)
    found = evaluate(Told(), sets)
    assert (found["asr"], found["asr_clean"]) == (4 / 5, 2 / 5)
    nothing = evaluate(Told(), replace(sets, triggered=clean[2:]))
    assert nothing["asr_clean"] == nothing["asr"] == 2 / 5, "what a trigger that changes nothing comes to"
    assert math.isnan(evaluate(Told(), replace(sets, triggered=triggered[:0]))["asr_clean"]), "untargeted"


def test_cells_have_it(tmp_path):
    result = run_cell(small_cell(target=3), Environment(cache_dir=tmp_path))
    assert all(0 <= row["asr_clean"] <= 1 for row in result.history)
    assert result.final["asr_clean"] == result.history[-1]["asr_clean"]
