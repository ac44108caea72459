"""``clipfed-bench table`` through the command line."""

import pandas as pd
import pytest
from terminal import cli

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult
from clipfed_bench.runs.store import RunStore


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = RunStore(tmp_path_factory.mktemp("run"))
    for defense, mta, asr in (("fedavg", 0.5, 0.9), ("krum", 0.45, 0.05)):
        for seed in range(2):
            figures = {"mta": mta + seed / 50, "asr": asr, "mta_tail": mta, "asr_tail": asr, "tpr": 1.0, "fpr": 0.25}
            spec = CellSpec(defense=defense, seed=seed, attack="badnets[size=3]")
            store.put(spec, CellResult([{"round": 10, "mta": mta, "asr": asr}], figures, {}))
    return store.folder


def call(*arguments):
    return cli("table", *arguments, columns=100)


def test_screen(run):
    done = call(run)
    assert done.returncode == 0, done.stderr
    assert "51.0 / 90.0" in done.stdout
    assert "46.0 / 5.0" in done.stdout


def test_other_rows_metrics_and_decimals_on_standard_output(run):
    done = call(
        run, "--rows", "defense", "--cols", "alpha", "--metrics", "tpr,fpr", "--decimals", 0, "--format", "markdown"
    )
    assert done.returncode == 0, done.stderr
    assert "| krum" in done.stdout
    assert "**100** ± 0 / **25** ± 0" in done.stdout


def test_all_writes_the_files_from_an_exported_file_too(run, tmp_path):
    RunStore(run).export()
    done = call(run / "results.parquet", "--format", "all", "--out", tmp_path / "tables")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["table.csv", "table.md", "table.tex"]
    assert pd.read_csv(tmp_path / "tables" / "table.csv")["mta_mean"].tolist() == pytest.approx([0.51, 0.46])


def test_differences_paired_by_seed(run):
    done = call(run, "--against", "fedavg", "--spread", "range", "--format", "markdown")
    assert done.returncode == 0, done.stderr
    assert "**MTA / ASR minus fedavg's, in percentage points**" in done.stdout
    assert "| -5.00 [-5.00, -5.00] / -85.00 [-85.00, -85.00] |" in done.stdout


def test_broken_cells_are_warned_of(run):
    broken = run / "cells" / ("0" * 16 + ".json")
    broken.write_text("{")
    try:
        done = call(run)
    finally:
        broken.unlink()
    assert done.returncode == 0
    assert "warning" in done.stderr
    assert broken.stem in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no run folder nowhere"),
        (["."], "not a run folder"),
        (["RUN", "--rows", "atack"], "Did you mean 'attack'"),
        (["RUN", "--metrics", "mat"], "Did you mean 'mta'"),
        (["RUN", "--against", "fedagv"], "Did you mean 'fedavg'"),
    ],
)
def test_mistakes_exit_with_2_and_no_traceback(run, arguments, message):
    done = call(*(run if argument == "RUN" else argument for argument in arguments))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
