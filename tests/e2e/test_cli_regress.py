"""``clipfed-bench regress`` and ``compare`` through the command line; one real run, of the smallest preset."""

from __future__ import annotations

import re

import pytest
from terminal import cli

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult
from clipfed_bench.report.regression.reference import read_reference
from clipfed_bench.runs.store import RunStore

FACTS = {"device": "cpu", "git_sha": "a" * 40, "version_torch": "2.15.0"}


def make_run(folder, krum=0.6, failed=()):
    store = RunStore(folder)
    for defense, mta in (("fedavg", 0.9), ("krum", krum)):
        for seed in range(3):
            spec = CellSpec(defense=defense, seed=seed)
            if (defense, seed) in failed:
                store.put_failure(spec, "out of memory", "traceback", FACTS)
            else:
                result = {"mta": mta + seed / 100, "asr": 0.1, "tpr": float("nan"), "fpr": float("nan")}
                store.put(spec, CellResult([{"round": 1, "mta": mta, "asr": 0.1}], result, FACTS))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs ``good``, ``bad`` and ``broken`` and a reference made of ``good``."""
    cwd = tmp_path_factory.mktemp("runs")
    make_run(cwd / "good")
    make_run(cwd / "bad", krum=0.5)
    make_run(cwd / "broken", failed=[("krum", 1)])
    done = cli("regress", "--run", "good", "--reference", "r.parquet", "--update", "--reason", "The first.", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote r.parquet\n"
    return cwd


def test_a_run_like_the_reference_passes(runs):
    done = cli("regress", "--run", "good", "--reference", "r.parquet", cwd=runs)
    assert done.returncode == 0, done.stderr
    assert "Passed: 6 cells as in the reference." in done.stdout
    assert re.search(r"Reference of \d{4}-\d\d-\d\d, source aaaaaaaaa: The first\.", done.stdout)


def test_a_run_that_moved_is_exit_status_1_and_a_table(runs, tmp_path):
    report = tmp_path / "new" / "report.md"
    done = cli("regress", "--run", "bad", "--reference", "r.parquet", "--report", report, cwd=runs)
    assert done.returncode == 1
    assert "Regression: 3 of 6 cells moved." in done.stdout
    assert re.search(r"badnets +krum +MTA +0, 1, 2 +\d\d\.00 +\d\d\.00 +-10\.00 +3\.00", done.stdout)
    assert "Traceback" not in done.stderr
    text = report.read_text(encoding="utf-8")
    assert text.startswith("# Regression: 3 of 6 cells moved.")
    assert re.search(r"\| badnets +\| krum +\| MTA +\| 0, 1, 2 +\|", text)


def test_a_failed_cell_is_a_regression_and_makes_no_reference(runs):
    done = cli("regress", "--run", "broken", "--reference", "r.parquet", cwd=runs)
    assert done.returncode == 1
    assert "Failed: badnets krum seed 1" in done.stdout
    assert "The first error: out of memory" in done.stdout
    before = (runs / "r.parquet").read_bytes()
    done = cli("regress", "--run", "broken", "--reference", "r.parquet", "--update", "--reason", "x", cwd=runs)
    assert done.returncode == 2
    assert "1 of 6 cells failed; a reference needs all of them" in done.stderr
    assert (runs / "r.parquet").read_bytes() == before


def test_an_update_shows_what_moved_and_is_the_new_reference(runs, tmp_path):
    path = tmp_path / "r.parquet"
    path.write_bytes((runs / "r.parquet").read_bytes())
    done = cli("regress", "--run", "bad", "--reference", path, "--update", "--reason", "Meant.", cwd=runs)
    assert done.returncode == 0, done.stderr
    assert "Regression: 3 of 6 cells moved." in done.stdout
    assert read_reference(path).reason == "Meant."
    assert cli("regress", "--run", "bad", "--reference", path, cwd=runs).returncode == 0
    path.write_bytes(b"old format")
    done = cli("regress", "--run", "bad", "--reference", path, "--update", "--reason", "Again.", cwd=runs)
    assert done.returncode == 0
    assert "warning:" in done.stderr
    assert read_reference(path).reason == "Again."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--run good --update", "--update needs --reason TEXT"),
        ("--run good --update --reason ", "--update needs --reason TEXT"),
        ("--run good --reason why", "--reason belongs to --update"),
        ("--run good --out new --reference r.parquet", "--run and --out are both given"),
        ("--run good --reference absent.parquet", "there is no reference absent.parquet; to make it: clipfed-bench"),
        ("--run good --reference good/results.parquet", "there is no reference good/results.parquet"),
        ("--run absent --reference r.parquet", "there is no run folder absent"),
        ("--preset nihgtly --reference r.parquet", "unknown preset 'nihgtly'. Did you mean 'nightly'"),
        ("--preset smoke --out good --reference r.parquet", "--out: good holds cells already"),
        ("--preset smoke", "smoke.parquet; to make it"),
    ],
)
def test_mistakes_are_one_clean_message_and_nothing_is_written(runs, arguments, message):
    before = sorted(path.name for path in runs.iterdir())
    done = cli("regress", *arguments.split(" "), cwd=runs)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in runs.iterdir()) == before


def test_a_preset_is_run_anew_into_a_folder_of_its_own(tmp_path):
    command = ("regress", "--preset", "smoke", "--reference", "r.parquet", "--workers", 1, "--quiet")
    done = cli(*command, "--update", "--reason", "First.", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    assert re.fullmatch(r"smoke-\d{8}-\d{6}", folder.name)
    assert {"results.parquet", "history.parquet", "cells", "warmups"} <= {path.name for path in folder.iterdir()}
    known = read_reference(tmp_path / "r.parquet")
    assert len(known.records) == 4
    assert {record["cpu_capability"] for record in known.records} != {"unknown"}, "a worker has torch and can tell"
    assert all(record["machine"] and record["cpu_id"] for record in known.records)
    done = cli("regress", "--run", folder, "--reference", "r.parquet", cwd=tmp_path)
    assert done.returncode == 0
    assert "4 cells made by the same versions on the same kind of processor: equality is asked." in done.stdout


def test_compare(runs):
    done = cli("compare", "bad", "--defense", "krum", "--with", "fedavg", cwd=runs)
    assert done.returncode == 0, done.stderr
    assert re.search(r"badnets +0\.5 +MTA +3 +51\.0 +91\.0 +-40\.0 +\[-40\.0, -40\.0\] +– +0\.500", done.stdout), (
        "Holm: twice 0.25"
    )
    options = ("--metrics", "mta", "--format", "csv", "--decimals", 0)
    done = cli("compare", "bad", "--defense", "krum", "--with", "fedavg", *options, cwd=runs)
    assert done.stdout.splitlines()[1].startswith("badnets,0.5,mta,krum,fedavg,3,")
    done = cli("compare", "bad", "--defense", "krum", "--with", "flame", cwd=runs)
    assert done.returncode == 2
    assert "unknown defense of this run 'flame'" in done.stderr
