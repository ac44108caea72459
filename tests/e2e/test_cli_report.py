"""``clipfed-bench report`` and ``clipfed-bench plot`` through the command line."""

import shutil

import pytest
from terminal import cli

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult
from clipfed_bench.runs.store import RunStore


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = RunStore(tmp_path_factory.mktemp("runs") / "small-run")
    for defense, mta, asr in (("fedavg", 0.5, 0.9), ("krum", 0.45, 0.05)):
        for alpha in (0.1, 0.5):
            figures = {"mta": mta, "asr": asr, "mta_tail": mta, "asr_tail": asr, "tpr": 1.0, "fpr": 0.25}
            figures |= {f"seconds_{part}": 2.0 for part in ("local", "attack", "defense", "purify", "eval")}
            spec = CellSpec(defense=defense, alpha=alpha, rounds=2)
            rounds = [{"round": 0, "mta": 0.1, "asr": 0.0}, {"round": 2, "mta": mta, "asr": asr}]
            store.put(spec, CellResult(rounds, figures, {"git_sha": "abc"}))
    store.put_failure(CellSpec(attack="dba", rounds=2), "<script>boom</script>", "Traceback ...", {})
    return store.folder


def call(*arguments):
    return cli(*arguments, columns=100)


def test_a_report_is_one_file_in_the_run_folder(run):
    broken = run / "cells" / ("0" * 16 + ".json")
    broken.write_text("{")
    before = set(run.iterdir())
    try:
        done = call("report", run)
    finally:
        broken.unlink()
    assert done.returncode == 0, done.stderr
    assert set(run.iterdir()) - before == {run / "report.html"}
    assert f"wrote {run / 'report.html'}" in done.stdout
    assert "warning" in done.stderr
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "<h1>small-run</h1>" in text
    assert text.count("<svg") == 5
    assert "&lt;script&gt;boom" in text
    assert "<script" not in text
    assert broken.stem in text


def test_a_report_of_exported_files(run, tmp_path):
    RunStore(run).export()
    for name in ("results.parquet", "history.parquet"):
        shutil.copy(run / name, tmp_path / name)
    done = call("report", tmp_path / "results.parquet", "--out", tmp_path / "pages" / "page.html")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "pages" / "page.html").read_text(encoding="utf-8")
    assert 'id="curves"' in text
    (tmp_path / "history.parquet").unlink()
    done = call("report", tmp_path, "--out", tmp_path / "bare.html")
    assert done.returncode == 0, done.stderr
    assert "no cell of this run has a history" in (tmp_path / "bare.html").read_text(encoding="utf-8")


def test_plots_are_files_in_the_formats_asked_for(run, tmp_path):
    done = call("plot", run, "alpha", "--format", "pdf,png,svg", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    heads = {"alpha.pdf": b"%PDF", "alpha.png": b"\x89PNG", "alpha.svg": b"<?xml"}
    assert {path.name: path.read_bytes()[: len(heads[path.name])] for path in tmp_path.iterdir()} == heads
    assert done.stdout.splitlines() == [f"wrote {tmp_path / name}" for name in heads]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "nowhere"], "there is no run folder nowhere"),
        (["report", "EMPTY"], "not a run folder"),
        (["report", "RUN", "--against", "fedagv"], "Did you mean 'fedavg'"),
        (["report", "RUN", "--out", "page.pdf"], "a file called NAME.html is needed"),
        (["plot", "RUN", "curve"], "Did you mean 'curves'"),
        (["plot", "RUN", "curves", "--format", "pdf,jpg"], "unknown format of figures 'jpg'"),
        (["plot", "nowhere", "curves"], "there is no run folder nowhere"),
        (["plot", "ONE", "alpha"], "there is no axis to draw against"),
        (["plot", "BROKEN", "cost"], "holds no usable cell"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(run, tmp_path, arguments, message):
    empty, one, broken = (tmp_path / name for name in ("empty", "one", "broken"))
    empty.mkdir()
    RunStore(one).put(CellSpec(), CellResult([], {"mta": 0.5, "asr": 0.5}, {}))
    (broken / "cells").mkdir(parents=True)
    (broken / "cells" / ("0" * 16 + ".json")).write_text("{")
    names = {"RUN": run, "EMPTY": empty, "ONE": one, "BROKEN": broken}
    before = sorted(tmp_path.rglob("*")) + sorted(run.rglob("*"))
    done = call(*(names.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) + sorted(run.rglob("*")) == before


def test_plots_are_listed_in_the_help():
    done = call("plot", "--help")
    assert done.returncode == 0
    assert "tradeoff" in done.stdout
