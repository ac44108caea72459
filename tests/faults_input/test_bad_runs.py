"""Run folders with files that are damaged, foreign or hostile: named and left out, and all others are read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad import Case, cases, files, refused, run

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult
from clipfed_bench.runs.store import RunStore

GOOD = CellSpec(defense="krum")
OTHER = CellSpec(defense="flame")
NESTED = "[" * 100_000


@pytest.fixture
def store(place: Path) -> RunStore:
    """Two cells that are done."""
    found = RunStore(place / "run")
    for spec in (GOOD, OTHER):
        final = {"mta": 0.5, "asr": 0.25, "seconds_local": 1.0}
        found.put(spec, CellResult([{"round": 0, "mta": 0.1}, {"round": 10, "mta": 0.5}], final, {"git_sha": "abc"}))
    return found


def merged(**more: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(json.loads(content) | more).encode()


def inside(part: str, **more: Any) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        cell = json.loads(content)
        cell[part] |= more
        return json.dumps(cell).encode()

    return change


def text(content: str | bytes) -> Callable[[bytes], bytes]:
    return lambda _: content if isinstance(content, bytes) else content.encode()


JSON: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("empty", text(""), "Expecting value"),
    ("cut off", lambda content: content[:-20], "Unterminated string"),
    ("binary", text(b"\xff\xfe\x00"), "decode"),
    ("nested", text(NESTED), "nested too deeply"),
    ("nested spec", lambda c: c.replace(b'"asr": 0.25', b'"asr": ' + NESTED.encode()), "nested too deeply"),
    ("list", text("[]"), "not the json of cell"),
    ("of another cell", merged(key=OTHER.key), "not the json of cell"),
    ("key as a path", merged(key="../../../etc/passwd"), "not the json of cell"),
    ("of another version", merged(format=2), "not the json of cell"),
    ("unknown status", merged(status="perfect"), "neither a result nor an error"),
    ("status as a list", merged(status=["done"]), "neither a result nor an error"),
    ("no figures", merged(final=None), "neither a result nor an error"),
    ("error that is no text", merged(status="failed", error={"a": 1}), "neither a result nor an error"),
    ("date that is no text", merged(created=[1]), "its created is not text"),
    ("spec as a list", merged(spec=[]), "no spec or no provenance"),
    ("provenance as a text", merged(provenance="x"), "no spec or no provenance"),
    ("figure of text", inside("final", mta="high"), "mta is 'high'"),
    ("figure of truth", inside("final", mta=True), "mta is 'True'"),
    ("figure of a table", inside("final", mta={"a": 1}), "figures are not numbers"),
    ("share of 57", inside("final", mta=57), "its mta is 57, not a fraction"),
    ("share below 0", inside("final", asr=-0.1), "its asr is -0.1, not a fraction"),
    ("400 digits", inside("final", seconds_local=10**400), "figures are not numbers"),
    ("5000 digits", lambda c: c.replace(b"0.25", b"9" * 5000), "Exceeds the limit"),
    ("NaN", inside("final", mta=float("nan")), "NaN is no number"),
    ("Infinity", inside("final", dropped=float("inf")), "Infinity is no number"),
    ("figure with a line's end", inside("final", **{"a\nb": 1}), "cannot name a column"),
    ("figure of 200 letters", inside("final", **{"a" * 200: 1}), "cannot name a column"),
    ("provenance of terminal codes", inside("provenance", **{"\x1b[2J": "x"}), "cannot name a column"),
    ("seed of 100 bits", inside("spec", seed=2**100), "too large"),
    ("seed of text", inside("spec", seed="many"), "seed: 'many' is not a whole number"),
    ("alpha as a list", inside("spec", alpha=[0.1]), "alpha: '[0.1]' is not a number"),
    ("defense without an end", inside("spec", defense="a["), "not a name with options"),
    ("defense as a path", inside("spec", defense="../../x"), "'../../x' is no name"),
    ("attack of LaTeX", inside("spec", attack="\\input{/etc/passwd}"), "is no name"),
    ("attack of HTML", inside("spec", attack="<script>"), "is no name"),
    ("attack of a spreadsheet", inside("spec", attack="=HYPERLINK"), "is no name"),
    ("data set of terminal codes", inside("spec", dataset="\x1b[2J"), "holds '\\x1b'"),
    ("partition of Markdown", inside("spec", partition="[x](http://x)"), "not a name with options"),
    ("partition of HTML", inside("spec", partition="<b>"), "is no name"),
    ("teacher of half a letter", inside("spec", teacher="\ud800"), "no Unicode"),
    ("server data of a book", inside("spec", server_data="x" * 5000), "5,000 characters"),
]


def table(**columns: Any) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.table(columns), path)


def doubled(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["mta", "mta"]), path)


PARQUET: list[tuple[str, Callable[[Path], Any], str]] = [
    ("empty", lambda p: p.write_bytes(b""), "not a complete parquet file"),
    ("cut off", lambda p: p.write_bytes(p.read_bytes()[:-20]), "not a complete parquet file"),
    ("text", lambda p: p.write_bytes(b"PAR1" + b"x" * 50 + b"PAR1"), "not a complete parquet file"),
    (
        "footer of nonsense",
        lambda p: p.write_bytes(p.read_bytes()[:-60] + b"\xff" * 52 + p.read_bytes()[-8:]),
        "left out",
    ),
    ("column of text", table(mta=["high"]), "mta does not hold numbers"),
    ("column of lists", table(mta=[[1]]), "mta does not hold numbers"),
    ("column of times", table(mta=pa.array([1], pa.timestamp("s"))), "mta does not hold numbers"),
    ("two of one name", doubled, "two columns have one name"),
    ("64 unsigned bits", table(round=pa.array([2**64 - 1], pa.uint64())), "left out"),
    ("name with a line's end", table(**{"a\nb": [1]}), "cannot name a column"),
    (
        "million of rows",
        lambda p: pq.write_table(pa.table({"mta": pa.array([1.0] * 10_000_001)}), p),
        "10,000,001 rows",
    ),
]


def shown(store: RunStore, reason: str, name: str) -> None:
    """The other cell is shown, and one warning names the file and the reason."""
    done = run("table", "run", "--format", "csv", "--rows", "dataset")
    assert done.code == 0, done
    assert "flame" in done.out
    assert "krum" not in done.out
    assert done.err.count("\n") == 1
    assert done.err.startswith("warning: ")
    assert name in done.err
    assert reason in done.err
    assert all(char.isprintable() for char in done.err[:-1])


@pytest.mark.parametrize(("id", "change", "reason"), JSON, ids=[line[0] for line in JSON])
def test_json(id: str, change: Callable[[bytes], bytes], reason: str, store: RunStore) -> None:
    path = store.cells / f"{GOOD.key}.json"
    path.write_bytes(change(path.read_bytes()))
    assert store.status(GOOD.key) is None
    assert store.failure(GOOD.key) is None
    shown(store, reason, GOOD.key)


@pytest.mark.parametrize(("id", "change", "reason"), PARQUET, ids=[line[0] for line in PARQUET])
def test_parquet(id: str, change: Callable[[Path], Any], reason: str, store: RunStore) -> None:
    """Whoever changes the table can change its digest in the json as well."""
    change(store.cells / f"{GOOD.key}.parquet")
    path = store.cells / f"{GOOD.key}.json"
    path.write_bytes(merged(history=None)(path.read_bytes()))
    shown(store, reason, GOOD.key)


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to(p.name)], ids=["folder", "pipe", "loop"]
)
@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_what_is_no_file(suffix: str, make: Callable[[Path], None], store: RunStore) -> None:
    path = store.cells / f"{GOOD.key}.{suffix}"
    path.unlink()
    make(path)
    assert store.status(GOOD.key) is None
    results, history = store.frames()
    assert results["defense"].tolist() == ["flame"]
    assert set(history["defense"]) == {"flame"}
    assert len(store.warnings) <= 1


def test_files_of_other_names(store: RunStore) -> None:
    for name in ("notes.json", "\x1b[2J.json", ".hidden.json", f"{GOOD.key}.json.bak", f"{GOOD.key.upper()}.json"):
        (store.cells / name).write_text("{}")
    results, _ = store.frames()
    assert len(results) == 2
    assert len(store.warnings) == 3 - (GOOD.key.upper() == GOOD.key)
    assert all(text.isprintable() for text in store.warnings)


def test_a_json_of_gigabytes_is_not_read(store: RunStore) -> None:
    with (store.cells / f"{GOOD.key}.json").open("wb") as file:
        file.truncate(2**33)
    shown(store, "more than 20,000,000 bytes", GOOD.key)


def test_a_hostile_cell_is_run_again_as_if_it_were_not_there(store: RunStore) -> None:
    path = store.cells / f"{GOOD.key}.json"
    path.write_text(NESTED)
    assert store.statuses([GOOD.key, OTHER.key]) == {OTHER.key: "done"}
    store.put_failure(GOOD, "boom", "tb", {})
    assert store.failure(GOOD.key) == ("boom", "tb")


# --- what comes from outside has no meaning to LaTeX, Markdown and terminals ---------------------------------------

HOSTILE = r"\input{/etc/passwd} $x$ ~ ^ # % & _ <script>alert(1)</script> [a](http://b) **b** `c` | d"


@pytest.fixture
def hostile(place: Path, store: RunStore) -> Path:
    """A run whose teacher, provenance and options are hostile texts."""
    for spec in (GOOD, OTHER):
        path = store.cells / f"{spec.key}.json"
        cell = json.loads(path.read_text())
        cell["spec"] |= {"teacher": HOSTILE, "attack": "badnets[size=<script>]", "server_data": HOSTILE}
        cell["provenance"] = {"git_sha": f"{HOSTILE} {spec.defense} \x1b[2J", "final_x": "1", "mta": "2"}
        path.write_text(json.dumps(cell))
    return store.folder


def test_latex_is_escaped(hostile: Path) -> None:
    text = run("table", "run", "--format", "latex", "--rows", "attack,teacher").out
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    for command in (r"\input", "$x$", "**b**%"):
        assert command not in text
    assert "\x1b" not in text


def test_markdown_is_escaped(hostile: Path) -> None:
    text = run("table", "run", "--format", "markdown", "--rows", "attack,teacher").out
    assert r"\<script\>alert(1)\</script\> \[a\](http://b) \*\*b\*\* \`c\` \| d" in text
    for markup in (" <script>", "[size=<", "** **b", " | d **", "\x1b"):
        assert markup not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1, "no text opens a column of its own"


def test_terminals_are_not_told_what_to_do(hostile: Path) -> None:
    done = run("table", "run", "--rows", "attack,teacher")
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    assert "alert(1)" in done.out.replace("\n", "")


def test_provenance_takes_no_figures_column(hostile: Path) -> None:
    results, _ = RunStore(hostile).frames()
    assert results["mta"].tolist() == [0.5, 0.5]
    assert results["provenance_mta"].tolist() == ["2", "2"]
    assert results["provenance_final_x"].tolist() == ["1", "1"]


# --- results.parquet of anybody's ----------------------------------------------------------------------------------

OPTIONS = cases(
    ("unknown row", ("--rows", "atack"), ("unknown column 'atack'", "Did you mean 'attack'?")),
    ("row as a path", ("--rows", "../x"), ("unknown column '../x'",)),
    ("comma too many", ("--rows", "attack,,alpha"), ("empty item in the list 'attack,,alpha'",)),
    ("row twice", ("--rows", "attack,attack"), ("'attack' is asked for twice",)),
    ("unknown column", ("--cols", "defnse"), ("unknown column 'defnse'", "Did you mean 'defense'?")),
    ("unknown metric", ("--metrics", "mtaa"), ("unknown metric 'mtaa'", "Did you mean 'mta'?")),
    ("no metric", ("--metrics", ""), ("empty item",)),
    ("file in the way", ("--format", "csv", "--out", "f"), ("cannot be written",)),
    ("decimals of words", ("--decimals", "two"), ("'--decimals'", "valid integer")),
)


@OPTIONS
def test_options_of_the_table(case: Case, place: Path, store: RunStore) -> None:
    (place / "f").touch()
    refused(("table", "run", *case.given), case.words, place)


def column(name: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.drop(columns=name)
        frame[name] = [value] * len(frame)
        return frame

    return change


RESULTS: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], tuple[str, ...]]] = [
    ("no cells", lambda f: f[:0], ("holds no cells yet",)),
    ("other table", lambda f: pd.DataFrame({"a": [1]}), ("not the results of a run", "key, status, dataset")),
    ("no seed", lambda f: f.drop(columns="seed"), ("there is no column seed",)),
    ("figures of text", column("mta", "high"), ("column mta is not float64",)),
    ("figures of lists", column("mta", [1.0]), ("column mta is not float64",)),
    ("seeds of text", column("seed", "many"), ("column seed is not int64",)),
    ("seeds of fractions", column("seed", 0.5), ("column seed is not int64",)),
    ("names of tables", column("attack", {"a": 1}), ("column attack is not string",)),
    ("names of bytes", column("defense", b"krum"), ("column defense is not string", "bytes")),
]


@pytest.mark.parametrize(("id", "change", "words"), RESULTS, ids=[line[0] for line in RESULTS])
def test_results(
    id: str, change: Callable[[pd.DataFrame], pd.DataFrame], words: tuple[str, ...], place: Path, store: RunStore
) -> None:
    change(store.frames()[0]).to_parquet(place / "r.parquet")
    refused(("table", "r.parquet"), words, place)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello" * 100], ids=["empty", "short", "text"])
def test_results_that_are_no_parquet(content: bytes, place: Path) -> None:
    (place / "r.parquet").write_bytes(content)
    refused(("table", "r.parquet"), ("r.parquet is not a readable parquet file",), place)


def test_results_that_are_no_file(place: Path) -> None:
    os.mkfifo(place / "pipe.parquet")
    refused(("table", "pipe.parquet"), ("pipe.parquet is not a readable parquet file", "no file"), place)
    (place / "loop").symlink_to("loop")
    refused(("table", "loop"), ("loop",), place)


def test_reading_writes_nothing(place: Path, hostile: Path) -> None:
    before = files(place)
    assert run("table", "run", "--format", "latex").code == 0
    assert files(place) == before
