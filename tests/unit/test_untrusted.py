"""Readers of files that anybody may have written: a value, or one kind of error with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from clipfed_bench.core import untrusted
from clipfed_bench.core.errors import DamagedFileError, DataError
from clipfed_bench.core.untrusted import parquet_file, parse_json, read_json, reading
from clipfed_bench.toolbox.tensor_files import read_model, read_tensors


def text(path: Path) -> None:
    path.write_text("[{" * 99)


def rows(path: Path) -> int:
    with parquet_file(path, "what is wanted") as file:
        return int(file.metadata.num_rows)


READERS: list[Callable[[Path], Any]] = [read_json, rows, read_tensors, lambda path: read_model(path, "cpu")]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, Path.touch, text])
def test_what_is_no_such_file(read: Callable[[Path], Any], make: Callable[[Path], Any], tmp_path: Path) -> None:
    make(tmp_path / "file")
    with pytest.raises(DamagedFileError, match=r"."):
        read(tmp_path / "file")


@pytest.mark.parametrize("read", READERS)
def test_nothing_there(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError if read is read_json else DamagedFileError):
        read(tmp_path / "file")


def test_every_error_but_a_users_is_one() -> None:
    for error, reason in ((KeyError("name"), "'name'"), (MemoryError(), "MemoryError"), (RecursionError("x"), "x")):
        with pytest.raises(DamagedFileError) as caught, reading():
            raise error
        assert str(caught.value) == reason
    for kept in (DataError("so"), DamagedFileError("so"), KeyboardInterrupt()):
        with pytest.raises(type(kept)) as passed, reading():
            raise kept
        assert passed.value is kept


def test_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf[1, NaN]")
    assert read_json(path)[0] == 1
    with pytest.raises(DamagedFileError, match=r"^NaN is no number$"):
        read_json(path, finite=True)
    with pytest.raises(DamagedFileError, match=r"^its head is nested too deeply$"):
        parse_json("[" * 100_000, "its head is")
    monkeypatch.setattr(untrusted, "_MOST_BYTES", 10)
    with pytest.raises(DamagedFileError, match=r"^it has more than 10 bytes$"):
        read_json(path)


@pytest.mark.parametrize("limit", ["_MOST_ROWS", "_MOST_VALUES"])
def test_parquet_of_too_many_rows(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    pq.write_table(pa.table({"a": [1, 2, 3]}), path)
    monkeypatch.setattr(untrusted, limit, 3)
    assert rows(path) == 3
    monkeypatch.setattr(untrusted, limit, 2)
    with pytest.raises(DamagedFileError, match=r"^3 rows are not what is wanted$"):
        rows(path)


def test_tensors(tmp_path: Path) -> None:
    path = tmp_path / "file"
    good = {"params": torch.arange(3.0), "buffers": torch.zeros(0)}
    save_file(good, path, metadata={"spec": "s"})
    tensors, metadata = read_tensors(path)
    assert metadata == {"spec": "s"}
    assert {name: value.tolist() for name, value in tensors.items()} == {"params": [0, 1, 2], "buffers": []}
    assert torch.equal(read_model(path, "cpu")[0][0], good["params"])
    for bad in (torch.tensor([1.0, torch.inf]), torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.int32)):
        save_file(good | {"params": bad}, path)
        with pytest.raises(DamagedFileError, match=r"^its numbers are not float32, or not finite$"):
            read_model(path, "cpu")
    save_file({"params": good["params"]}, path)
    with pytest.raises(DamagedFileError, match="buffers"):
        read_model(path, "cpu")
