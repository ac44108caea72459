"""Checkpoints: what is kept comes back to the bit, what is broken or not ours is ignored, when they are due."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import replace
from functools import partial

import pytest
import torch
from makers.specs import small_cell
from safetensors.torch import load_file, save_file

from clipfed_bench.core.messages import Environment
from clipfed_bench.simulator import checkpoint as module
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.checkpoint import Checkpoint, identity
from clipfed_bench.simulator.history import Log
from clipfed_bench.simulator.warmup import run_warmup

TENSORS = {
    "params": torch.tensor([1 / 3, -0.0, math.inf, 1e-45]),
    "empty": torch.zeros(0),
    "number": torch.tensor(2**60 + 1),
    "half": torch.tensor([1.5], dtype=torch.bfloat16),
    "defense/mask": torch.tensor([[True], [False]]),
}
FACTS = {"rows": [{"mta": 1 / 3, "tpr": math.nan, "round": 2}]}


@pytest.fixture
def env(tmp_path):
    return Environment(checkpoint_dir=tmp_path / "checkpoints")


def make(env, facts=(("device", "cpu"),), warn=None):
    return Checkpoint(env, "name", dict(facts), warn or pytest.fail)


def test_everything_comes_back_to_the_bit_and_in_memory_of_its_own(env):
    make(env).save(3, TENSORS, FACTS)
    saved = make(env).load()
    assert saved.round == 3
    assert repr(saved.facts) == repr(FACTS)
    assert saved.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        found = saved.tensors[name]
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert found.flatten().view(torch.uint8).tolist() == value.flatten().view(torch.uint8).tolist()
        assert found.numel() == 0 or found.data_ptr() % 64 == 0, "as a new tensor would be"
    assert [path.name for path in env.checkpoint_dir.iterdir()] == ["name.safetensors"]


def test_the_last_one_replaces_those_before_and_can_be_removed(env):
    kept = make(env)
    kept.save(3, TENSORS, FACTS)
    kept.save(4, {"params": torch.ones(2)}, {})
    assert make(env).load().round == 4
    kept.remove()
    kept.remove()
    assert make(env).load() is None
    assert list(env.checkpoint_dir.iterdir()) == []


def test_tensors_may_share_memory(env):
    whole = torch.arange(6.0)
    make(env).save(1, {"a": whole, "b": whole, "c": whole[2:], "d": whole.view(2, 3).T}, {})
    assert torch.equal(make(env).load().tensors["d"], whole.view(2, 3).T)


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut off":
        del content[-3:]
    elif how == "empty":
        content.clear()
    elif how == "text":
        content[:] = b"something else entirely"
    elif how == "one bit of a tensor":
        content[-1] ^= 1
    elif how == "one figure of the header":
        place = content.index(b"0.3333")
        content[place + 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut off", "empty", "text", "one bit of a tensor", "one figure of the header"])
def test_a_broken_one_is_ignored_with_a_warning(env, how):
    make(env).save(3, TENSORS, FACTS)
    damage(env.checkpoint_dir / "name.safetensors", how)
    warnings = []
    assert make(env, warn=warnings.append).load() is None
    assert len(warnings) == 1
    assert "name.safetensors cannot be used and is ignored" in warnings[0]


def test_a_safetensors_file_of_another_kind_is_ignored_with_a_warning(env):
    env.checkpoint_dir.mkdir()
    save_file({"params": torch.ones(3)}, env.checkpoint_dir / "name.safetensors")
    warnings = []
    assert make(env, warn=warnings.append).load() is None
    assert len(warnings) == 1


def test_one_made_otherwise_is_ignored_and_it_is_said_what_differs(env):
    make(env, {"device": "cuda", "cpu": "a", "data": "1"}).save(3, TENSORS, FACTS)
    warnings = []
    assert make(env, {"device": "cpu", "cpu": "a", "teacher": "2"}, warnings.append).load() is None
    assert "is ignored: it was made with other data, device, teacher" in warnings[0]


def test_identity_has_digests_and_settings_but_not_the_state_of_the_checkout():
    facts = {"device": "cpu", "git_sha": "abc", "platform": "Linux", "version_torch": "2", "digest_attack": "1a"}
    assert identity("k", facts) == {"key": "k", "device": "cpu", "version_torch": "2", "digest_attack": "1a"}


def test_due_by_rounds(env):
    every = {n: [r for r in range(1, 9) if make(replace(env, checkpoint_every=n)).due(r)] for n in (0, 1, 3)}
    assert every == {0: [], 1: [1, 2, 3, 4, 5, 6, 7, 8], 3: [3, 6]}
    assert not make(Environment(checkpoint_every=1)).due(1)


def test_due_by_time_and_more_seldom_where_writing_is_slow(env, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    kept, write = make(env), module.write_atomically

    def slow(path, content):
        write(path, content)
        now[0] += 30

    now[0] += module.INTERVAL - 1
    assert not kept.due(1)
    now[0] += 1
    assert kept.due(2)
    monkeypatch.setattr(module, "write_atomically", slow)
    kept.save(2, TENSORS, FACTS)
    now[0] += 30 / module.SHARE - 1
    assert not kept.due(3)
    now[0] += 1
    assert kept.due(3)


def test_a_full_disk_costs_safety_and_one_warning(env, monkeypatch):
    warnings = []
    kept = make(env, warn=warnings.append)
    kept.save(1, TENSORS, FACTS)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    kept.save(2, TENSORS, FACTS)
    kept.save(3, TENSORS, FACTS)
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    assert make(env).load().round == 1
    assert [path.name for path in env.checkpoint_dir.iterdir()] == ["name.safetensors"]


def test_a_log_goes_on_where_it_was_and_adds_up_seconds(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("clipfed_bench.simulator.stopwatch.time.perf_counter", lambda: float(next(clock) ** 2))

    def rounds(log, first, last):
        for round_ in range(first, last + 1):
            with log.timed("seconds_local"):
                pass
            log.selection(round_ / 7, math.nan, round_ % 2, {"bound": round_})
            if round_ % 3 == 0:
                log.evaluation(round_, {"mta": round_ / 10, "asr": 0.5})

    whole = Log("cpu")
    whole.evaluation(0, {"mta": 0.1, "asr": 0.9})
    rounds(whole, 1, 6)
    clock = iter(range(100))
    part, rest = Log("cpu"), Log("cpu")
    part.evaluation(0, {"mta": 0.1, "asr": 0.9})
    rounds(part, 1, 4)
    rest.load_state(json.loads(json.dumps(part.state())))
    assert rest.rows[-1]["mta"] == 0.3
    rounds(rest, 5, 6)
    assert repr(rest.rows) == repr(whole.rows)
    assert repr(rest.final(6)) == repr(whole.final(6))
    assert rest.final(6)["seconds_local"] == sum((2 * k + 1) ** 2 - (2 * k) ** 2 for k in range(6))


small = partial(small_cell, clients=90, clients_per_round=2, rounds=3, eval_every=3)


def test_a_warm_up_goes_on_where_it_stopped(env, tmp_path):
    cell = small(warmup_rounds=4)
    env = replace(env, warmup_dir=tmp_path / "warmups", checkpoint_every=1)
    fresh = replace(env, warmup_dir=tmp_path / "fresh", checkpoint_dir=None)
    seen = []

    def stop(progress):
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_warmup(cell, env, stop)
    run_warmup(cell, env, seen.append)
    run_warmup(cell, fresh)
    assert [(p.done, p.note) for p in seen] == [(3, "goes on after round 3"), (4, "")]
    one, other = (load_file(e.warmup_dir / f"{cell.warmup_key}.safetensors") for e in (env, fresh))
    assert all(torch.equal(one[name], other[name]) for name in ("params", "buffers"))
    assert list(env.checkpoint_dir.iterdir()) == [], "what is done needs no checkpoint"


def test_a_cell_with_a_checkpoint_of_other_sources_starts_again_and_says_so(env, monkeypatch):
    env, cell, seen = replace(env, checkpoint_every=2), small(), []
    whole = run_cell(cell, env)
    real = CellSetup.digests.func
    monkeypatch.setattr(CellSetup, "digests", property(lambda setup: real(setup) | {"attack": "edited"}))
    again = run_cell(cell, env, seen.append)
    assert "is ignored: it was made with other attack" in seen[0].note
    assert [p.done for p in seen[1:]] == [0, 1, 2, 3]
    assert again.final["mta"] == whole.final["mta"]
