"""What stands beside a mean in a table, and tables of more than two metrics."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import pandas as pd
import pytest
from rich.console import Console

from clipfed_bench import report
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.formats import render
from clipfed_bench.report.formats.terminal import screen as on_terminal
from clipfed_bench.report.tables.table import table


def cell(mta, asr, tpr=None, fpr=None, **settings):
    spec = CellSpec(**settings)
    names = {f"{kind}_name": getattr(spec, kind).name for kind in ("attack", "defense")}
    figures = {"mta": mta, "asr": asr, "tpr": tpr, "fpr": fpr}
    return {"key": spec.key, "status": "done", **spec.as_dict(), **names, **figures}


RUN = pd.DataFrame(
    [
        *(cell(m, 1.0, defense="fedavg", seed=s) for s, m in enumerate([0.70, 0.72, 0.74])),
        *(
            cell(0.68, a, 1.0, f, defense="krum", seed=s)
            for s, (a, f) in enumerate([(0.0, 0.25), (0.5, 0.25), (0.1, 1)])
        ),
        cell(0.5, 0.5, 0.5, 0.5, defense="krum", attack="dba"),
    ]
)


def screen(width, *arguments, **named):
    out = io.StringIO()
    made = report.sheet(RUN, *arguments, **{"decimals": 1, **named})
    Console(file=out, width=width, color_system=None).print(on_terminal(made))
    return out.getvalue()


@pytest.mark.parametrize(
    ("spread", "mta", "asr", "note"),
    [
        ("std", "2.00", "26.46", "Mean ± sample standard deviation over 3 seeds (0, 1, 2)."),
        # mean 72, s 2, t(0.975, 2) = 4.302653; for the ASR mean 20, s 26.4575
        ("ci", "[67.03, 76.97]", "[-45.72, 85.72]", "interval of the mean, 95 %] (which may leave 0 to 100) over 3"),
        ("bootstrap", "[70.00, 74.00]", "[0.00, 50.00]", "interval of the mean, 95 %, 10,000 resamples] over 3"),
        ("range", "[70.00, 74.00]", "[0.00, 50.00]", "Mean and [smallest, largest] over 3 seeds"),
        ("none", None, None, "Mean over 3 seeds (0, 1, 2)."),
    ],
)
def test_each_spread_says_what_it_is(spread, mta, asr, note):
    made = table(RUN, spread=spread)
    fedavg, krum = (made.texts(made.entry(("badnets", 0.5), (name,))) for name in ("fedavg", "krum"))
    assert fedavg[0] == ("72.00", mta, True)
    assert krum[1] == ("20.00", asr, True)
    assert sum(note in line for line in made.notes) == 1
    lone = made.texts(made.entry(("dba", 0.5), ("krum",)))
    assert lone == [("50.00", None, False), ("50.00", None, False)], "one seed has no spread"


def test_only_a_deviation_has_a_plus_minus():
    assert "**72.00** ± 2.00 / 100.00 ± 0.00" in render(report.sheet(RUN), "markdown")
    assert "**72.00** [70.00, 74.00] / 100.00 [100.00, 100.00]" in render(report.sheet(RUN, spread="range"), "markdown")
    assert "**72.00** / 100.00" in render(report.sheet(RUN, spread="none"), "markdown")
    for format in ("markdown", "latex", "csv"):
        for spread in ("ci", "range", "none"):
            text = render(report.sheet(RUN, spread=spread), format)
            assert "±" not in text
            assert r"$\pm$" not in text
    assert r"{\scriptsize{[}$-$45.72, 85.72{]}}" in render(report.sheet(RUN, spread="ci"), "latex")
    assert re.search(r"72\.0 / 100\.0 .*\n.*\[70\.0, 74\.0\] +[│|].*\n.*\[100\.0, 100\.0\]", screen(60, spread="range"))


def test_csv_has_the_bounds():
    def read(spread):
        text = render(report.sheet(RUN, spread=spread), "csv")
        return pd.read_csv(io.StringIO(text)).set_index(["attack", "defense"])

    assert [c for c in read("std") if "mta" in c] == ["mta_mean", "mta_std", "mta_n"]
    assert [c for c in read("none") if "mta" in c] == ["mta_mean", "mta_n"]
    frame = read("range")
    assert [c for c in frame if "mta" in c] == ["mta_mean", "mta_std", "mta_low", "mta_high", "mta_n"]
    assert frame.loc[("badnets", "krum"), ["asr_low", "asr_high"]].tolist() == [0.0, 0.5]
    assert frame.loc[("dba", "krum"), ["asr_low", "asr_high"]].isna().all()


def test_unknown_spread():
    with pytest.raises(UserError, match=r"unknown spread 'sd'. Did you mean 'std'"):
        table(RUN, spread="sd")


FOUR = ("mta", "asr", "tpr", "fpr")


def test_more_than_two_metrics_stand_below_one_another():
    markdown = render(report.sheet(RUN, metrics=FOUR), "markdown")
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in markdown.splitlines() if line.startswith("|")]
    assert rows[0] == ["attack", "alpha", "metric", "fedavg", "krum"]
    assert rows[2:] == [
        ["badnets", "0.5", "MTA", "**72.00** ± 2.00", "68.00 ± 0.00"],
        ["badnets", "0.5", "ASR", "100.00 ± 0.00", "**20.00** ± 26.46"],
        ["badnets", "0.5", "TPR", "–", "100.00 ± 0.00"],  # alone, so not the best of anything
        ["badnets", "0.5", "FPR", "–", "50.00 ± 43.30"],
        *(["dba", "0.5", metric, "–", "50.00 (n=1)"] for metric in ("MTA", "ASR", "TPR", "FPR")),
    ]
    shown = screen(60, metrics=FOUR)
    assert re.search(r"badnets +│ 0\.5 +│ MTA +│ 72\.0 ±2\.0 +│ +68\.0 ±0\.0 +│\n│ +│ +│ ASR ", shown)
    assert "metric" not in render(report.sheet(RUN, metrics=FOUR[:2]), "markdown")


def test_a_metric_that_some_seeds_lack_is_marked_in_its_own_line():
    lacking = RUN.copy()
    lacking.loc[(lacking.defense == "krum") & (lacking.seed == 2), "tpr"] = None
    made = table(lacking, metrics=FOUR)
    entry = made.entry(("badnets", 0.5), ("krum",))
    assert [made.fewer(entry, part) for _, row, part in made.lines() if row[0] == "badnets"] == ["", "", "2", ""]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
@pytest.mark.parametrize("spread", ["std", "ci"])
def test_latex_of_four_metrics_compiles(tmp_path, spread):
    (tmp_path / "t.tex").write_text(render(report.sheet(RUN, metrics=FOUR, spread=spread), "latex"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0 or "standalone.cls' not found" in done.stdout, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


@pytest.mark.parametrize(
    ("evaluated", "images"),
    [(["test"], "test"), (["validation"], "validation"), (["test", "validation"], "test or validation")],
)
def test_notes_name_the_images_that_figures_are_of(evaluated, images):
    made = table(pd.DataFrame([cell(0.7, 0.1, evaluate=on) for on in evaluated]))
    says = f"MTA: accuracy on clean {images} images, last evaluation; ASR: share of triggered {images} images of"
    assert says in "\n".join(made.notes)
