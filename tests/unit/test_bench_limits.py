"""Limits of the bench on time and memory."""

from __future__ import annotations

import math
import signal
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from benchmarks import aggregation
from benchmarks.aggregation import free_memory, make_updates, measure_aggregations
from benchmarks.ceilings import Ceilings, count_work
from benchmarks.limit import TooLongError, at_most
from benchmarks.scale import choose
from benchmarks.world import World, make_world
from clipfed_bench.components.registry import defenses
from clipfed_bench.core.errors import UserError

FAST = Ceilings({"float32": 1e11, "bfloat16": 4e11}, 1e10)


def test_defenses_that_take_too_long_are_left_out():
    scale = replace(choose("cpu", "cnn", quick=True, images=1), counts=(2, 4), aggregation_seconds=0.05)
    found = list(measure_aggregations("cnn", "cpu", scale, FAST, count_work("cnn")))
    assert [a.defense for a in found] == 2 * list(defenses())
    slow = [a for a in found if a.defense == "deepsight"]
    assert [(a.milliseconds, a.note) for a in slow] == 2 * [(None, "left out: over 0.05 s")]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_defense_that_cannot_be_made_is_left_out(monkeypatch):
    def refuse(name):
        raise UserError(f"{name} needs what is not here")

    scale = replace(choose("cpu", "cnn", quick=True, images=1), counts=(2,))
    monkeypatch.setattr(aggregation, "defenses", lambda: ["krum"])
    monkeypatch.setattr(World, "defense", lambda world, name, server: refuse(name))
    (found,) = measure_aggregations("cnn", "cpu", scale, FAST, count_work("cnn"))
    assert (found.milliseconds, found.note) == (None, "left out: krum needs what is not here")


def endless():
    while True:
        pass


def test_limit_stops_a_loop_and_nothing_else():
    with pytest.raises(TooLongError), at_most(0.05, cpu=False):
        time.sleep(10)
    with at_most(0.05, cpu=True):
        time.sleep(0.1)  # takes no CPU time
    with pytest.raises(TooLongError), at_most(0.05, cpu=True):
        endless()
    with at_most(0.05, cpu=False):
        pass
    time.sleep(0.06)  # it is over


def endless_after_a_wait():
    time.sleep(0.1)  # another process has the core
    endless()


def endless_twice():
    with suppress(TooLongError):
        endless()
    endless()


def test_limit_is_as_short_on_a_busy_machine():
    begin = time.process_time()
    with pytest.raises(TooLongError), at_most(0.05, cpu=True):
        endless_after_a_wait()
    assert time.process_time() - begin < 0.3


def test_limit_is_raised_again_where_it_was_caught():
    with pytest.raises(TooLongError), at_most(0.01, cpu=True):
        endless_twice()


def test_updates_that_do_not_fit_are_not_made(monkeypatch):
    monkeypatch.setattr("benchmarks.aggregation.free_memory", lambda device: 1e6)
    scale = replace(choose("cpu", "cnn", quick=True, images=1), counts=(10,))
    notes = {a.note for a in measure_aggregations("cnn", "cpu", scale, FAST, count_work("cnn"))}
    assert notes == {"left out: 0.0 GB of memory wanted, 0.0 GB free"}


def test_updates_differ_and_share_a_direction():
    world = make_world("cnn", "cpu", 2, 1, 64, 1, 1)
    flat = world.model()
    updates = make_updates(world, flat.params, flat.buffers, 3)
    close = torch.corrcoef(updates.deltas)[0, 1]
    assert updates.deltas.shape == (3, flat.num_params)
    assert float(close) == pytest.approx(0.5, abs=0.02)


def test_free_memory(tmp_path):
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  10 kB\nMemAvailable:    4 kB\n")
    assert free_memory("cpu", file) == 4096
    assert free_memory("cpu", tmp_path / "nothing") == math.inf
