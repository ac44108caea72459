"""Readers of what comes from outside, on what nobody thought of: each gives a value or a user's error, nothing else.

The examples are the same every time. What a reader may raise beside :class:`UserError` is a test's failure.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad import only_user_errors
from damage import DATA, Evil
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.data_files import CLASSES, batches, png, write_parquet

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.splits import Split
from clipfed_bench.data.arrays import decode
from clipfed_bench.data.formats import official, parquet
from clipfed_bench.runs.frames import read_history, read_results

bounded = settings(settings.get_profile("bounded"))
few = settings(settings.get_profile("bounded"), max_examples=40)


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """``good`` with some bytes changed, a piece left out, or its end cut off."""
    content = bytearray(good)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(content) - 1))
        content[at] = draw(st.integers(0, 255))
    start = draw(st.integers(0, len(content)))
    stop = min(len(content), start + draw(st.sampled_from([0, 0, 1, 8, 100])))
    del content[start:stop]
    end = draw(st.sampled_from([0, 0, 0, 1, 9, 100]))
    return bytes(content[: len(content) - end])


# --- parquet --------------------------------------------------------------------------------------------------------

GOOD = DATA["train"][0][:4], DATA["train"][1][:4]
PNG = png(GOOD[0][0])
CELLS = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([PNG, b"", b"x", {"bytes": PNG, "path": None}, {"bytes": None}, {}, [1], "cat", 3, 10, -1]),
)
COLUMNS = ["img", "image", "label", "fine_label", "caption", "text", "mta", "round", "seed", "attack", "key", "a\nb"]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Columns of known and of other names, of one kind or another, some twice."""
    rows = draw(st.integers(0, 3))
    names = draw(st.lists(st.sampled_from(COLUMNS), max_size=5))
    arrays = []
    for _ in names:
        cell = draw(CELLS)
        values = [cell if draw(st.booleans()) else draw(CELLS) for _ in range(rows)]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            arrays.append(pa.array([cell] * rows))
    metadata = draw(st.sampled_from([None, b"{", b"[]", b'{"info": {"features": {"label": {"names": ["cat", 3]}}}}']))
    return pa.Table.from_arrays(arrays, names=names).replace_schema_metadata(metadata and {"huggingface": metadata})


def read_images(folder: Path) -> None:
    for group in parquet.groups(sorted([*folder.glob("*.parquet"), *folder.glob("*.arrow")]), folder):
        assert all(group.damaged)
        for shards in group.splits.values():
            with only_user_errors():
                check(parquet.read(shards, CLASSES, 32))


def check(split: Split) -> None:
    assert split.images.dtype == np.uint8
    assert split.images.shape == (len(split.labels), 3, 32, 32)
    assert split.labels.dtype == np.int64
    assert ((split.labels >= 0) & (split.labels < 10)).all()
    assert split.captions is None or len(split.captions) == len(split.labels)


@bounded
@given(tables())
def test_parquet_of_anything(place: Path, table: pa.Table) -> None:
    for k, make in enumerate((pa.ipc.new_stream, pa.ipc.new_file)):
        with make(str(place / f"{k}.arrow"), table.schema) as file:
            file.write_table(table)
    with contextlib.suppress(pa.ArrowNotImplementedError):  # structs of nothing
        pq.write_table(table, place / "t.parquet")
    read_images(place)
    with contextlib.suppress(ValueError):
        assert len(read_history(place / "t.parquet")) == len(table)
    with only_user_errors():
        assert len(read_results(place / "t.parquet")) == len(table)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("shard") / "train.parquet"
    write_parquet(path, *GOOD, captions=["a cat"] * 4)
    return path.read_bytes()


@bounded
@given(st.data())
def test_damaged_parquet(place: Path, shard: bytes, data: st.DataObject) -> None:
    (place / "t.parquet").write_bytes(data.draw(damaged(shard)))
    read_images(place)
    for read, error in ((read_history, ValueError), (read_results, UserError)):
        with contextlib.suppress(error):
            read(place / "t.parquet")


@pytest.fixture(scope="module")
def arrow(tmp_path_factory: pytest.TempPathFactory, shard: bytes) -> bytes:
    path, table = tmp_path_factory.mktemp("arrow") / "train.arrow", pq.read_table(pa.BufferReader(shard))
    with pa.ipc.new_stream(str(path), table.schema) as file:
        file.write_table(table.slice(0, 1))
    return path.read_bytes()


@bounded
@given(st.data())
def test_damaged_arrow(place: Path, arrow: bytes, data: st.DataObject) -> None:
    (place / "t.arrow").write_bytes(data.draw(damaged(arrow)))
    read_images(place)


# --- CIFAR ----------------------------------------------------------------------------------------------------------

ENTRY = official.published("cifar10")
ONE = replace(ENTRY, batches={"test": {"test_batch": ""}})
BATCH = batches(DATA)["test_batch"]


def read_batch(content: bytes) -> None:
    """As if the publisher gave this content's MD5 sum."""
    entry = replace(ONE, batches={"test": {"test_batch": hashlib.md5(content).hexdigest()}})
    with only_user_errors():
        split = official._split({"test_batch": content}, entry, "test", 32, Path("folder"))
        assert split.images.shape == (len(split.labels), 3, 32, 32)
        assert split.images.dtype == np.uint8


@bounded
@given(damaged(BATCH))
def test_damaged_batches(place: Path, content: bytes) -> None:
    read_batch(content)


ARRAYS = st.sampled_from(
    [
        np.zeros((2, 3072), np.uint8),
        np.zeros((2, 3072)),
        np.zeros(2, np.uint8),
        np.zeros((0, 3072), np.uint8),
        None,
        "x",
    ]
)
LABELS = st.lists(st.integers(-2, 12) | st.floats() | st.none() | st.text(max_size=2) | st.just(2**80), max_size=3)


@bounded
@given(
    st.dictionaries(st.sampled_from(["data", "labels", b"data", 3, None]), ARRAYS | LABELS, max_size=4),
    st.integers(0, 5),
)
def test_batches_of_anything(content: dict[Any, Any], protocol: int) -> None:
    read_batch(pickle.dumps(content, protocol=protocol))


@few
@given(st.binary(max_size=40))
def test_pickles_of_noise(content: bytes) -> None:
    for head in (b"", b"\x80\x04", b"\x80\x04}", b"cnumpy\n", b"cbuiltins\n"):
        read_batch(head + content)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "wrap",
    [lambda e: e, lambda e: {"data": e}, lambda e: {"labels": [e]}, lambda e: {"data": np.array([e], dtype=object)}],
)
def test_no_pickle_runs_code(wrap: Callable[[object], object], protocol: int, place: Path) -> None:
    content = pickle.dumps(wrap(Evil()), protocol=protocol)
    with pytest.raises(UserError, match="is not allowed"):
        official.unpickle(content, "batch")
    assert not (place / "code-ran").exists()


@few
@given(damaged(PNG))
def test_damaged_images(content: bytes) -> None:
    with only_user_errors():
        image = decode(content, 32, "image")
        assert image.shape == (3, 32, 32)
        assert image.dtype == np.uint8
