"""Head, middle and tail of a long-tailed data set, and how long a backdoor lives: against counting by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from makers.specs import environment, small_cell
from miniature import miniature, numbers
from torch import nn

from clipfed_bench.runs.lifespan import lifespan
from clipfed_bench.runs.metrics import SHOTS
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import TestSets, evaluate
from clipfed_bench.simulator.history import Log
from clipfed_bench.simulator.prefix import run_prefix
from clipfed_bench.simulator.shots import Shots, accuracies, shots


def labels(*counts):
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def test_classes_are_ranked_by_training_images_and_equal_ones_by_label():
    train = labels(9, 40, 20, 20, 70, 50, 3, 20, 5, 4)
    found = shots(train, labels(*[2] * 10), 10)
    assert found.groups == {"many": (4, 5, 1), "medium": (2, 3, 7, 0), "few": (8, 9, 6)}
    assert found.images == (2,) * 10
    assert shots(labels(5, 1), labels(1, 1), 2).groups == {"many": (0,), "medium": (), "few": (1,)}
    hundred = shots(labels(*range(200, 100, -1), 1), labels(*[1] * 101), 101)
    assert [len(part) for part in hundred.groups.values()] == [33, 35, 33]


def test_a_data_set_without_a_long_tail_has_no_groups():
    assert shots(labels(134, 136, 130), labels(4, 4, 4), 3) is None
    assert shots(labels(19, 10), labels(4, 4), 2) is None
    assert shots(labels(20, 10), labels(4, 4), 2) is not None


class Pixel(nn.Module):
    """Takes an image for the class in its first pixel."""

    def forward(self, images):
        return nn.functional.one_hot(images[:, 0, 0, 0].long(), 10).float()


def test_accuracies_are_means_of_those_of_the_classes():
    """Against a loop over images in float64; test images are unequally many, and of one class there are none."""
    draw = np.random.default_rng(0)
    truth = np.repeat(np.arange(10), [30, 5, 8, 0, 20, 1, 13, 40, 90, 70])
    taken = np.where(draw.random(len(truth)) < 0.6, truth, draw.integers(0, 10, len(truth)))
    images = torch.zeros(len(truth), 1, 1, 1)
    images[:, 0, 0, 0] = torch.from_numpy(taken)
    found = shots(labels(*range(100, 0, -10)), torch.from_numpy(truth), 10)
    figures = evaluate(Pixel(), TestSets(images, torch.from_numpy(truth), images[:3], 0, found))
    right = {c: [float(t == c) for t, true in zip(taken, truth, strict=True) if true == c] for c in range(10)}
    for name, part in {"many": (0, 1, 2), "medium": (3, 4, 5, 6), "few": (7, 8, 9)}.items():
        means = [sum(right[c]) / len(right[c]) for c in part if right[c]]
        assert figures[f"mta_{name}"] == pytest.approx(sum(means) / len(means), abs=1e-15)
    assert figures["mta"] == (taken == truth).mean()
    assert math.isnan(accuracies(Shots({"many": (0,)}, (0, 3)), [0, 3])["mta_many"]), "no test images at all"


SMALL = {"clients": 4, "clients_per_round": 2, "malicious": 0.5, "min_samples": 1, "attack_start": 2}


def test_a_long_tailed_cell_shows_its_tail_with_shared_rounds_as_alone(tmp_path):
    cell, env = small_cell(dataset="digits-lt", **SMALL), environment(tmp_path, "cache", "prefix")
    with miniature(evaluate, train=4, test=9):
        result = run_cell(cell, replace(env, prefix_dir=None))
        run_prefix(cell, env)
        assert numbers(run_cell(cell, env)) == numbers(result)
    assert all(0 <= row[name] <= 1 for row in result.history for name in SHOTS)
    assert [result.final[name] for name in SHOTS] == [result.history[-1][name] for name in SHOTS]


def rows(**asr):
    return [{"round": int(name[1:]), "asr": value} for name, value in asr.items()]


@pytest.mark.parametrize(
    ("evaluations", "lived"),
    [
        (rows(r0=0.0, r5=0.8, r10=0.7, r15=0.5, r20=0.41, r25=0.39, r30=0.9), 10),  # above 0.4 up to round 20
        (rows(r0=0.0, r5=0.8, r10=0.7, r15=0.4), 0),  # half is not above half
        (rows(r5=0.8, r20=0.9), 10),  # as far as the cell goes; what comes after the attack is no peak
        (rows(r0=1.0, r5=0.49, r20=0.45), math.nan),  # an untrained model is no backdoor
        (rows(r5=0.8, r10=0.9), math.nan),  # nothing was evaluated later
        (rows(r0=0.9, r20=0.9), math.nan),  # nor while the attack was on
        (rows(r5=math.nan, r20=math.nan), math.nan),
    ],
)
def test_lifespan_by_hand(evaluations, lived):
    assert lifespan(evaluations, (1, 10)) == pytest.approx(lived, nan_ok=True)


def test_without_an_attack_that_ends_there_is_no_lifespan():
    evaluations = rows(r5=0.8, r20=0.9)
    assert math.isnan(lifespan(evaluations, None))
    assert math.isnan(lifespan(evaluations, (1, 20)))


def test_the_final_figure_is_of_the_attacked_rounds():
    log = Log("cpu")
    for round_, asr in ((0, 0.9), (5, 0.8), (10, 0.7), (15, 0.5), (20, 0.3)):
        log.evaluation(round_, {"mta": 0.5, "asr": asr})
    assert log.final(20, (1, 10))["lifespan"] == 5
    assert math.isnan(log.final(20, (1, 20))["lifespan"])
    assert math.isnan(log.final(20)["lifespan"])
    assert all(math.isnan(log.final(20)[name]) for name in SHOTS), "what was not measured"
