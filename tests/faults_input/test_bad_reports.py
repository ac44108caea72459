"""Commands that read runs and references, and those that make server data, with what they cannot use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad import Case, cases, files, refused, run

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult
from clipfed_bench.report.regression.reference import write_reference
from clipfed_bench.runs.store import RunStore

COMPARE = ("compare", "run", "--defense", "krum", "--with")
GENERATE = ("server-data", "generate", "--out", "a.parquet")


@pytest.fixture
def store(place: Path) -> RunStore:
    """Two defenses that are done, on one seed; a folder, an empty file and a file of text beside the run."""
    found = RunStore(place / "run")
    for defense in ("krum", "flame"):
        result = CellResult([{"round": 0, "mta": 0.1}], {"mta": 0.5, "asr": 0.25}, {"git_sha": "abc"})
        found.put(CellSpec(defense=defense), result)
    (place / "folder.html").mkdir()
    (place / "file").touch()
    (place / "text.parquet").write_text("hello" * 100)
    return found


RUNS = cases(
    # runs
    ("report of nothing", ("report", "none"), ("there is no run folder none", "grid --out none")),
    ("report of no run", ("report", "data"), ("data is not a run folder",)),
    ("report of text", ("report", "text.parquet"), ("text.parquet is not a readable parquet file",)),
    ("report of an empty file", ("report", "file"), ("file is not a readable parquet file",)),
    ("report as text", ("report", "run", "--out", "a.txt"), ("--out a.txt", "NAME.html")),
    ("report over a folder", ("report", "run", "--out", "folder.html"), ("--out folder.html", "is a folder")),
    ("report below a file", ("report", "run", "--out", "file/a.html"), ("--out file/a.html", "file is no folder")),
    ("report against nobody", ("report", "run", "--against", "median"), ("median", "flame")),
    ("report with a spread of its own", ("report", "run", "--spread", "iqr"), ("'--spread'", "bootstrap")),
    ("table against nobody", ("table", "run", "--against", "median"), ("median", "flame")),
    ("plot of nothing", ("plot", "none", "curves"), ("there is no run folder none",)),
    ("unknown plot", ("plot", "run", "curve"), ("unknown kind of plot 'curve'", "Did you mean 'curves'?")),
    ("plot as a path", ("plot", "run", "../curves"), ("unknown kind of plot '../curves'",)),
    ("plot as a photo", ("plot", "run", "curves", "--format", "jpg"), ("unknown format of figures 'jpg'", "svg")),
    ("plot in no format", ("plot", "run", "curves", "--format", ""), ("empty item",)),
    ("plot below a file", ("plot", "run", "tradeoff", "--out", "file"), ("file", "cannot be written")),
    ("plot of one alpha", ("plot", "run", "alpha"), ("alpha",)),
    ("compare with nobody", ("compare", "run", "--defense", "krum"), ("Missing option", "--with")),
    (
        "compare with itself",
        (*COMPARE, "krum"),
        ("the same defense", "name two"),
    ),
    ("compare with one that is not there", (*COMPARE, "median"), ("median", "flame")),
    ("compare with a misspelled one", (*COMPARE, "flamme"), ("flamme", "flame")),
    ("unknown figure", (*COMPARE, "flame", "--metrics", "mtaa"), ("unknown metric 'mtaa'", "Did you mean 'mta'?")),
    # regression
    ("preset misspelled", ("regress", "--preset", "nightyl"), ("unknown preset 'nightyl'", "Did you mean 'nightly'?")),
    ("preset as a path", ("regress", "--preset", "../nightly"), ("unknown preset '../nightly'",)),
    ("no reference", ("regress", "--reference", "none.parquet"), ("there is no reference none.parquet", "--update")),
    ("reference of text", ("regress", "--reference", "text.parquet"), ("text.parquet is not a reference",)),
    ("reference that is a run", ("regress", "--run", "run", "--reference", "run"), ("there is no reference run",)),
    ("update without a reason", ("regress", "--update"), ("--update needs --reason",)),
    ("update for no reason", ("regress", "--update", "--reason", "  "), ("--update needs --reason",)),
    ("reason for nothing", ("regress", "--reason", "x"), ("--reason belongs to --update",)),
    ("old and new run", ("regress", "--run", "run", "--out", "new"), ("--run and --out are both given",)),
    ("regression of a run that is there", ("regress", "--out", "run"), ("run holds cells already", "--run run")),
    ("regression into a folder", ("regress", "--report", "folder.html"), ("--report folder.html", "is a folder")),
    ("regression of nothing", ("regress", "--run", "none"), ("there is no run folder none",)),
    ("regression without workers", ("regress", "--workers", "0"), ("'--workers'",)),
    # where cells run
    ("unknown executor", ("grid", "--executor", "slurm"), ("unknown executor 'slurm'", "local", "ray", "submitit")),
    ("option of Ray", ("grid", "--executor", "ray[adress=a:1]"), ("option of executor ray 'adress'", "'address'?")),
    ("minutes of no job", ("grid", "--executor", "submitit[minutes=0]"), ("submitit[minutes=0]", "at least 1")),
    ("address without Ray", ("grid", "--address", "a:1"), ("--address", "--executor ray")),
    ("GPUs without Ray", ("grid", "--gpus-per-cell", "0.5"), ("--gpus-per-cell", "--executor ray")),
    ("two GPUs a cell", ("grid", "--executor", "ray", "--gpus-per-cell", "2"), ("--gpus-per-cell", "2")),
    ("no time", ("grid", "--cell-timeout", "0"), ("'--cell-timeout'", "1")),
    ("time without end", ("grid", "--cell-timeout", "inf"), ("'--cell-timeout'", "1000000")),
    ("time that is none", ("grid", "--cell-timeout", "nan"), ("'--cell-timeout'",)),
    ("checkpoints before round 0", ("grid", "--checkpoint-every", "-1"), ("'--checkpoint-every'", "0")),
    ("checkpoints of words", ("grid", "--checkpoint-every", "often"), ("'--checkpoint-every'", "valid integer")),
    ("run below a file", ("grid", "--preset", "smoke", "--out", "file/run"), ("file/run",)),
    ("run in a file", ("grid", "--preset", "smoke", "--out", "file"), ("file",)),
    ("warm-ups in a file", ("grid", "--preset", "smoke", "--warmups", "file"), ("file",)),
    ("unknown precision", ("grid", "--precision", "float16"), ("'--precision'", "bfloat16")),
    ("graphs on a CPU", ("grid", "--device", "cpu", "--steps", "graph"), ("--steps: graph is for GPUs",)),
    ("no streams", ("grid", "--streams", "0"), ("'--streams'", "1")),
    # speed
    ("bench of an unknown model", ("bench", "--model", "vgg"), ("unknown model 'vgg'", "Did you mean 'vgg11'?")),
    ("bench of an unknown data set", ("bench", "--dataset", "mnst"), ("unknown dataset 'mnst'", "'mnist'")),
    ("bench of no images", ("bench", "--images", "0"), ("'--images'", "1")),
    ("bench into a folder", ("bench", "--json", "folder.html"), ("--json folder.html", "is a folder")),
    ("bench below a file", ("bench", "--markdown", "file/a.md"), ("--markdown file/a.md", "file is no folder")),
    # making server data
    ("images as PNG", ("server-data", "generate", "--out", "a.png"), ("a.png", ".parquet")),
    ("no images", (*GENERATE, "--per-class", "0"), ("--per-class 0", "at least 1")),
    ("guidance nan", (*GENERATE, "--guidance", "nan"), ("--guidance nan", "at least 0")),
    ("images of 4 pixels", (*GENERATE, "--image-size", "4"), ("--image-size 4", "at least 8")),
    ("images of 500 pixels", (*GENERATE, "--size", "500"), ("--size 500", "a multiple of 8")),
    ("unknown type", (*GENERATE, "--dtype", "float8"), ("'--dtype'", "float16")),
    ("no batch", (*GENERATE, "--batch-size", "0"), ("--batch-size", "1")),
    ("data and classes", (*GENERATE, "--dataset", "digits", "--classes", "a,b"), ("--dataset and --classes",)),
    ("no classes", (*GENERATE, "--classes", ""), ("--classes: at least one name",)),
    ("a class twice", (*GENERATE, "--classes", "cat,Cat"), ("'cat' is named twice",)),
    (
        "unknown data set",
        ("server-data", "prompts", "--dataset", "cifar1"),
        ("unknown dataset 'cifar1'", "mean 'cifar10'?"),
    ),
    ("templates that are not there", ("server-data", "prompts", "--templates", "./t.txt"), ("./t.txt", "no file")),
    ("prompts of seed -1", ("server-data", "prompts", "--seed", "-1"), ("--seed", "-1")),
)


@RUNS
def test_commands(case: Case, place: Path, store: RunStore) -> None:
    refused(tuple(case.given), case.words, place)


# --- references -------------------------------------------------------------------------------------------------------


def metadata(change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        found = dict(table.schema.metadata)
        facts = change(json.loads(found[b"clipfed_bench_reference"]))
        text = facts if isinstance(facts, bytes) else json.dumps(facts).encode()
        return table.replace_schema_metadata(found | {b"clipfed_bench_reference": text})

    return changed


def column(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(t.column_names.index(name), name, pa.array([value] * len(t)))


REFERENCES: list[tuple[str, Callable[[pa.Table], pa.Table], str]] = [
    ("results of a run", lambda t: t.replace_schema_metadata(None), "it does not say why and when"),
    ("metadata of no JSON", metadata(lambda f: b"{"), "Expecting"),
    ("metadata without end", metadata(lambda f: b"[" * 100_000), "nested"),
    ("metadata of another kind", metadata(lambda f: [1]), "its format is none, not 1"),
    ("of another version", metadata(lambda f: f | {"format": 99}), "its format is 99, not 1"),
    ("reason of another kind", metadata(lambda f: f | {"reason": 3}), "no text called reason"),
    ("no date", metadata(lambda f: {k: v for k, v in f.items() if k != "created"}), "no text called created"),
    ("no cells", lambda t: t.slice(0, 0), "it has no cells"),
    ("no ASR", lambda t: t.drop_columns(["asr"]), "it has no column asr"),
    ("ASR of text", column("asr", "high"), "column asr"),
    ("ASR of lists", column("asr", [0.5]), "column asr"),
    ("seeds of text", column("seed", "many"), "column seed"),
    ("defense of lists", column("defense", ["krum"]), "list"),
]


@pytest.mark.parametrize(("id", "change", "words"), REFERENCES, ids=[line[0] for line in REFERENCES])
def test_references(id: str, change: Callable[[pa.Table], pa.Table], words: str, place: Path, store: RunStore) -> None:
    path = place / "r.parquet"
    write_reference(path, store.frames()[0], "for a test")
    assert run("regress", "--run", "run", "--reference", "r.parquet").code in (None, 0)
    pq.write_table(change(pq.read_table(path)), path)
    arguments = ("regress", "--run", "run", "--reference", "r.parquet")
    refused(arguments, ("r.parquet is not a reference that this version can read", words), place)


def test_a_reference_that_is_no_file(place: Path, store: RunStore) -> None:
    os.mkfifo(place / "pipe.parquet")
    refused(("regress", "--run", "run", "--reference", "pipe.parquet"), ("there is no reference pipe.parquet",), place)


# --- what comes from outside has no meaning to a browser --------------------------------------------------------------

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)>" onload="x" {{ 7 * 7 }} {% raw %} \x1b[2J </style>'


def test_html_is_escaped(place: Path, store: RunStore) -> None:
    """Names with options, teachers, errors, provenance: text and nothing else, also in attributes and plots."""
    for path in store.cells.glob("*.json"):
        cell = json.loads(path.read_text())
        cell["spec"] |= {"teacher": HOSTILE, "attack": "badnets[size=<script>]", "server_data": HOSTILE}
        cell["provenance"] = {"git_sha": HOSTILE, "cpu": HOSTILE, "version_torch": HOSTILE, "</td>": "<b>"}
        path.write_text(json.dumps(cell))
    store.put_failure(CellSpec(defense="median"), HOSTILE, HOSTILE, {"git_sha": HOSTILE})
    assert run("report", "run").code in (None, 0)
    page = (store.folder / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for markup in ("<script", "<img src=x", '" onload', "\x1b", "size=<", ">49<"):
        assert markup not in page, markup
    assert "Content-Security-Policy" in page
    before = files(place)
    assert run("report", "run").code in (None, 0)
    assert files(place).keys() == before.keys()
