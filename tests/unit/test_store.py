"""The store: atomic, resumable, strict about what counts as done, tidy and typed when read."""

import json
import math
import os
import subprocess
import sys

import pandas as pd
import pytest

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.messages import CellResult
from clipfed_bench.core.provenance import git_sha, provenance
from clipfed_bench.runs import store as store_module
from clipfed_bench.runs.store import RunStore

SPEC = CellSpec(attack="badnets[size=3]", defense="krum", seed=7, attack_stop=40)


def result(mta: float = 0.5, **more: float) -> CellResult:
    history = [{"round": 0, "mta": 0.1, "asr": 0.0, "tpr": math.nan}, {"round": 10, "mta": mta, "asr": 0.9, "tpr": 1.0}]
    final = {"mta": mta, "asr": 0.9, "mta_tail": mta, "asr_tail": 0.9, "asr_max": 0.9, "tpr": math.nan, **more}
    return CellResult(history, final, {"git_sha": "abc", "teacher": "collides with a setting"})


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "run")


def test_round_trip_of_numbers_types_and_provenance(store):
    store.put(SPEC, result(1 / 3, info_bound=2.5))
    results, history = store.frames()
    row = results.iloc[0]
    assert list(results.columns[:3]) == ["key", "status", "dataset"]
    assert (row["key"], row["status"], row["mta"], row["seed"]) == (SPEC.key, "done", 1 / 3, 7)
    assert (row["attack"], row["attack_name"], row["defense_name"]) == ("badnets[size=3]", "badnets", "krum")
    assert (row["git_sha"], row["provenance_teacher"], row["final_info_bound"]) == (
        "abc",
        "collides with a setting",
        2.5,
    )
    assert pd.isna(row["teacher"])
    assert math.isnan(row["tpr"])
    assert row["attack_stop"] == 40
    kinds = {"seed": "int64", "attack_stop": "Int64", "alpha": "float64", "degree": "float64", "model": "string"}
    assert {name: str(results[name].dtype) for name in kinds} == kinds
    assert history["round"].tolist() == [0, 10]
    assert history["key"].tolist() == [SPEC.key] * 2
    assert history["mta"].tolist() == [0.1, 1 / 3]
    assert set(history["attack"]) == {"badnets[size=3]"}
    assert history["tpr"].isna().tolist() == [True, False]
    assert store.warnings == []


def test_cells_of_a_plugin_that_is_gone_are_read_as_they_were_stored(store):
    store.put(SPEC, result())
    path = store.cells / f"{SPEC.key}.json"
    path.write_text(path.read_text().replace('"badnets[size=3]"', '"gone[size=5,probe=dba[x=1]]"'))
    row = store.frames()[0].iloc[0]
    assert (row["attack"], row["attack_name"]) == ("gone[size=5,probe=dba[x=1]]", "gone")
    assert store.warnings == []


def test_export_reads_back_as_it_was(store):
    store.put(SPEC, result())
    store.put_failure(CellSpec(seed=1), "boom", "Traceback", {})
    store.export()
    for name, frame in zip(("results", "history"), store.frames(), strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(store.folder / f"{name}.parquet"), frame)


def test_frames_of_a_run_without_cells_are_empty_and_typed(store):
    results, history = store.frames()
    assert len(results) == len(history) == 0
    assert {"key", "mta", "seed", "error"} <= set(results.columns)
    assert str(results["mta"].dtype) == "float64"
    store.export([SPEC.key])
    assert len(pd.read_parquet(store.folder / "results.parquet")) == 0


def test_histories_with_other_columns_are_joined(store):
    store.put(SPEC, result())
    other = result()
    other.history[0]["info_radius"] = 1
    store.put(CellSpec(seed=1), other)
    history = store.frames()[1]
    assert history["info_radius"].notna().sum() == 1
    assert len(history) == 4


def test_failure_is_a_row_with_its_error_and_nan_metrics(store):
    store.put_failure(SPEC, "ValueError: bad\n  thing", "Traceback…", {"git_sha": "abc"})
    assert store.status(SPEC.key) == "failed"
    assert store.failure(SPEC.key) == ("ValueError: bad thing", "Traceback…")
    results, history = store.frames()
    assert results.loc[0, "error"] == "ValueError: bad thing"
    assert math.isnan(results.loc[0, "mta"])
    assert len(history) == 0


def test_success_replaces_failure_and_not_the_other_way(store):
    store.put_failure(SPEC, "first", "tb", {})
    store.put(SPEC, result())
    assert store.status(SPEC.key) == "done"
    store.put_failure(SPEC, "late", "tb", {})
    assert store.status(SPEC.key) == "done"
    assert store.failure(SPEC.key) is None
    assert store.statuses([SPEC.key, CellSpec(seed=9).key]) == {SPEC.key: "done"}


def test_crash_between_the_two_files_leaves_the_cell_undone(store, monkeypatch):
    def crash(path, content):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_atomically(path, content)

    monkeypatch.setattr(store_module, "write_atomically", crash)
    with pytest.raises(KeyboardInterrupt):
        store.put(SPEC, result())
    assert (store.cells / f"{SPEC.key}.parquet").exists()
    assert store.status(SPEC.key) is None
    assert len(store.frames()[0]) == 0
    monkeypatch.undo()
    store.put(SPEC, result())
    assert store.status(SPEC.key) == "done"


def test_crash_while_a_file_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def crash(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_killed_writer_leaves_nothing_that_counts(store):
    code = (
        "import os, signal, sys; from pathlib import Path; from clipfed_bench.core import files\n"
        "os.fsync = lambda d: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write_atomically(Path(sys.argv[1]) / '{SPEC.key}.json', b'x')"
    )
    subprocess.run([sys.executable, "-c", code, str(store.cells)], check=False)
    assert [path.suffix for path in store.cells.iterdir()] == [".tmp"]
    assert store.status(SPEC.key) is None
    assert len(store.frames()[0]) == 0
    assert store.warnings == []


@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_truncated_files_never_count_and_are_reported(store, suffix):
    store.put(SPEC, result())
    store.put(CellSpec(seed=1), result())
    path = store.cells / f"{SPEC.key}.{suffix}"
    path.write_bytes(path.read_bytes()[:-20])
    assert store.status(SPEC.key) is None
    results, history = store.frames()
    assert results["seed"].tolist() == [1]
    assert set(history["seed"]) == {1}
    assert len(store.warnings) == 1
    assert SPEC.key in store.warnings[0]


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"key": "0" * 16},
        {"status": "running"},
        {"spec": []},
        {"spec": {"seed": "many"}},
        {"final": {"mta": "high"}},
        {"final": None},
        {"provenance": None},
    ],
    ids=str,
)
def test_foreign_content_never_counts_and_never_crashes(store, change):
    store.put(SPEC, result())
    path = store.cells / f"{SPEC.key}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert store.status(SPEC.key) is None
    assert len(store.frames()[0]) == 0
    assert len(store.warnings) == 1


def test_garbage_inside_a_parquet_of_the_right_frame_is_reported(store):
    store.put(SPEC, result())
    path = store.cells / f"{SPEC.key}.parquet"
    content = bytearray(path.read_bytes())
    content[-40:-8] = b"\xff" * 32
    path.write_bytes(content)
    assert store.status(SPEC.key) is None, "it is run again"
    assert len(store.frames()[0]) == 0
    assert len(store.warnings) == 1
    assert store.broken([SPEC.key, CellSpec(seed=9).key]) == [
        store.warnings[0].replace("is left out", "cannot be used")
    ]


def test_cells_stored_without_a_digest_of_their_history_still_count(store):
    store.put(SPEC, result())
    path = store.cells / f"{SPEC.key}.json"
    payload = json.loads(path.read_text())
    assert len(payload.pop("history")) == 64
    path.write_text(json.dumps(payload))
    assert store.status(SPEC.key) == "done"
    assert store.broken([SPEC.key]) == []


def test_a_result_without_its_history_is_broken_and_a_cell_without_files_is_not(store):
    store.put(SPEC, result())
    (store.cells / f"{SPEC.key}.parquet").unlink()
    assert store.status(SPEC.key) is None
    assert len(store.broken([SPEC.key])) == 1
    (store.cells / f"{SPEC.key}.json").unlink()
    assert store.broken([SPEC.key]) == []


def test_foreign_files_are_named_in_the_warnings(store):
    store.put(SPEC, result())
    (store.cells / "notes.json").write_text("{}")
    (store.cells / "readme.txt").write_text("hello")
    assert len(store.frames()[0]) == 1
    assert len(store.warnings) == 1
    assert "notes.json" in store.warnings[0]


@pytest.mark.parametrize("key", ["../../etc/passwd", "ABCDEF0123456789", "", "0" * 15, "0" * 16 + "\n"])
def test_what_is_not_a_key_never_becomes_a_path(store, key):
    with pytest.raises(UserError, match="16 hexadecimal digits"):
        store.status(key)


def test_folder_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        RunStore(tmp_path / "run").put(SPEC, result())


def test_importing_the_store_is_cheap():
    modules = "clipfed_bench.runs.store, clipfed_bench.core.provenance"
    code = f"import sys, {modules}; print({{'torch', 'pandas'}} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_provenance_names_versions_and_machine():
    found = provenance("cpu")
    assert found["version_torch"].count(".") >= 2
    assert found["device"] == "cpu"
    assert found["device_name"] == found["cpu"] != ""
    assert all(isinstance(value, str) and value for value in found.values())


def test_git_sha_of_a_checkout_clean_and_dirty_and_of_none(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert git_sha(tmp_path / "none") == "none"
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "new.py").write_text("a = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = git_sha.__wrapped__(tmp_path)
    assert len(clean) == 40
    (tmp_path / "notes.txt").write_text("not a source\n")
    assert git_sha.__wrapped__(tmp_path) == clean
    (tmp_path / "attacks" / "more.py").write_text("b = 2\n")
    assert git_sha.__wrapped__(tmp_path) == f"{clean}-dirty"
    assert git_sha.__wrapped__(tmp_path / "attacks") == "none", "a folder inside a checkout is not the checkout"
