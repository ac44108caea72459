"""bfloat16 on a CPU: other numbers than float32, but always the same ones, and nothing is shared between the two."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from makers.specs import environment, small_cell
from miniature import miniature, numbers

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import evaluate
from clipfed_bench.simulator.manner import warmup_file
from clipfed_bench.simulator.prefix import run_prefix

spec = partial(small_cell, clients=12, clients_per_round=3, eval_every=CellSpec.eval_every)


@pytest.fixture
def exact(tmp_path: Path) -> Environment:
    return environment(tmp_path, "cache", "warmup", "checkpoint", "prefix")


@pytest.fixture
def rough(exact: Environment) -> Environment:
    return replace(exact, precision="bfloat16")


@pytest.fixture
def few_images() -> Iterator[None]:
    """Some of the images, for tests in which nothing has to be learned: many CPUs are ten times as slow in bfloat16."""
    with miniature(evaluate, train=8, test=6):
        yield


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("defense", ["fedavg", "fltrust"])
def test_a_cell_is_bit_identical_when_repeated(rough: Environment, exact: Environment, defense: str) -> None:
    cell = spec(defense=defense, attack="layer")
    first = run_cell(cell, rough)
    assert numbers(first) == numbers(run_cell(cell, rough)) != numbers(run_cell(cell, exact))
    assert first.provenance["precision"] == "bfloat16"
    assert all(math.isfinite(row["mta"]) for row in first.history)


def test_it_learns(rough: Environment) -> None:
    """Of ten classes; in float32 this cell has 0.60."""
    assert run_cell(spec(rounds=4, partition="iid", attack="none", eval_every=4), rough).final["mta"] > 0.4


@pytest.mark.usefixtures("few_images")
def test_neither_goes_on_from_what_the_other_has_left(rough: Environment, exact: Environment) -> None:
    cell = spec(warmup_rounds=2, rounds=3, attack_start=3, eval_every=1)
    alone = replace(exact, warmup_dir=exact.warmup_dir / "own", prefix_dir=None)
    run_prefix(cell, rough)  # which leaves a warm-up and a prefix
    assert numbers(run_cell(cell, exact)) == numbers(run_cell(cell, alone))
    names = sorted(path.name for path in exact.warmup_dir.glob("*.safetensors"))
    assert names == [f"{cell.warmup_key}-cpu-bfloat16.safetensors", f"{cell.warmup_key}.safetensors"]
    assert warmup_file(cell, exact).name == names[1]
    assert numbers(run_cell(cell, rough)) != numbers(run_cell(cell, exact))
