"""Checkpoints in a run folder that are damaged, foreign or hostile: those of cells, of warm-ups, and final models.

Nothing of them is run. The first two are ignored, with a warning where work is lost; without a final model there is no
figure of it.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import Evil
from safetensors.torch import load_file, save, save_file

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.checkpoint import Checkpoint, content_digest
from clipfed_bench.simulator.final_model import load_model, model_path
from clipfed_bench.simulator.manner import warmup_file
from clipfed_bench.simulator.warmup import is_stored, made_from
from clipfed_bench.toolbox.tensor_files import read_tensors

CELL = CellSpec(dataset="digits", model="cnn", warmup_rounds=1, target=0)
TENSORS = {"params": torch.ones(3)}

FILES: list[tuple[str, Callable[[Path], Any]]] = [
    ("empty", lambda p: p.write_bytes(b"")),
    ("text", lambda p: p.write_bytes(b"hello" * 100)),
    ("cut off", lambda p: p.write_bytes(p.read_bytes()[:-4])),
    ("longer", lambda p: p.write_bytes(p.read_bytes() + b"\0" * 4)),
    ("pickle", lambda p: p.write_bytes(pickle.dumps(Evil()))),
    ("torch's pickle", lambda p: torch.save({"params": Evil()}, p)),
    ("header of 2^63 bytes", lambda p: p.write_bytes(struct.pack("<Q", 2**63 - 1) + p.read_bytes()[8:])),
    ("header of no JSON", lambda p: p.write_bytes(struct.pack("<Q", 4) + b"{not" + p.read_bytes())),
    ("no tensors", lambda p: save_file({}, p)),
    ("other tensors", lambda p: save_file({"weights": torch.ones(3)}, p)),
    ("folder", lambda p: [p.unlink(), p.mkdir()]),
    ("pipe", lambda p: [p.unlink(), os.mkfifo(p)]),
    ("link to itself", lambda p: [p.unlink(), p.symlink_to(p.name)]),
]
NUMBERS: list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = [
    ("fewer", lambda t: t[1:]),
    ("more", lambda t: torch.cat([t, t])),
    ("of 64 bits", lambda t: t.double()),
    ("whole", lambda t: t.int()),
    ("in a matrix", lambda t: t[None].contiguous()),
    ("not finite", lambda t: torch.where(torch.arange(len(t)) == 1, torch.nan, t)),
    ("none", lambda t: t[:0]),
]
HEADERS = [
    ("no JSON", "{"),
    ("nested", "[" * 100_000),
    ("a list", "[1]"),
    ("no round", '{"identity": {}, "facts": {}}'),
    ("round of text", '{"round": "many", "identity": {}, "facts": {}}'),
    ("round before the first", '{"round": -1, "identity": {}, "facts": {}}'),
    ("identity as a list", '{"round": 1, "identity": ["a"], "facts": {}}'),
    ("facts as a text", '{"round": 1, "identity": {}, "facts": "rows"}'),
    ("no number", '{"round": NaN, "identity": {}, "facts": {}}'),
]


def unfinished(place: Path, warnings: list[str]) -> Checkpoint:
    return Checkpoint(Environment(checkpoint_dir=place / "kept"), "name", {"key": "k"}, warnings.append)


def ignored(place: Path, reason: str = "") -> None:
    warnings: list[str] = []
    assert unfinished(place, warnings).load() is None
    assert len(warnings) == 1
    assert warnings[0].startswith(f"the checkpoint {place / 'kept' / 'name.safetensors'} ")
    assert "ignored: " in warnings[0]
    assert reason in warnings[0]
    assert warnings[0].isprintable()
    assert not (place / "code-ran").exists()


@pytest.mark.parametrize(("id", "damage"), FILES[:-1], ids=[line[0] for line in FILES[:-1]])
def test_cells(id: str, damage: Callable[[Path], Any], place: Path) -> None:
    unfinished(place, []).save(2, TENSORS, {})
    damage(place / "kept" / "name.safetensors")
    ignored(place)


@pytest.mark.parametrize(("id", "text"), HEADERS, ids=[line[0] for line in HEADERS])
def test_headers_of_cells(id: str, text: str, place: Path) -> None:
    """Whoever makes them can make their digest as well."""
    (place / "kept").mkdir()
    content = save(TENSORS, metadata={"state": text, "digest": content_digest(text, TENSORS)})
    (place / "kept" / "name.safetensors").write_bytes(content)
    ignored(place)


def test_another_cells_checkpoint(place: Path) -> None:
    text = json.dumps({"round": 1, "identity": {"key": "k", "\x1b[2J": 1}, "facts": {}})
    (place / "kept").mkdir()
    content = save(TENSORS, metadata={"state": text, "digest": content_digest(text, TENSORS)})
    (place / "kept" / "name.safetensors").write_bytes(content)
    ignored(place, "it was made with other \\x1b[2J")


@pytest.fixture
def env(place: Path) -> Environment:
    """A warm-up and a final model."""
    found = Environment(warmup_dir=place / "warmups", model_dir=place / "models")
    flat = FlatModel(build_model("cnn", 10, 0))
    facts = made_from(CellSetup(CELL, found))
    for path in (warmup_file(CELL, found), model_path(CELL, found)):
        path.parent.mkdir()
        save_file({"params": flat.params, "buffers": flat.buffers}, path, facts)
    assert is_stored(CELL, found)
    return found


@pytest.mark.parametrize(("id", "damage"), FILES, ids=[line[0] for line in FILES])
def test_warmups(id: str, damage: Callable[[Path], Any], env: Environment, place: Path) -> None:
    """What is not stored is computed."""
    damage(warmup_file(CELL, env))
    assert not is_stored(CELL, env)
    assert not (place / "code-ran").exists()


@pytest.mark.parametrize(("id", "damage"), FILES, ids=[line[0] for line in FILES])
def test_final_models(id: str, damage: Callable[[Path], Any], env: Environment, place: Path) -> None:
    path = model_path(CELL, env)
    damage(path)
    with pytest.raises(UserError, match=r"no final model|not the final model of a cell, or damaged") as error:
        load_model(CELL, env)
    assert str(path) in str(error.value)
    assert str(error.value).isprintable()
    assert not (place / "code-ran").exists()


@pytest.mark.parametrize(("id", "change"), NUMBERS, ids=[line[0] for line in NUMBERS])
def test_numbers_of_another_model(id: str, change: Callable[[torch.Tensor], torch.Tensor], env: Environment) -> None:
    for path in (warmup_file(CELL, env), model_path(CELL, env)):
        stored, facts = load_file(path), read_tensors(path)[1]
        save_file(stored | {"params": change(stored["params"])}, path, facts)
    assert not is_stored(CELL, env)
    with pytest.raises(UserError, match=r"not the final model of a cell|holds [\d,]+ parameters .* cnn on digits has"):
        load_model(CELL, env)
