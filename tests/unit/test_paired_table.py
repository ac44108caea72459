"""Tables of what each defense came to minus another one, seed by seed."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import pandas as pd
import pytest
from makers.frames import cell, frame

from clipfed_bench import report
from clipfed_bench.core.errors import UserError
from clipfed_bench.report import formats
from clipfed_bench.report.page import html
from clipfed_bench.report.tables.table import table

FEDAVG = [0.70, 0.80, 0.60]
FLAME = [0.69, 0.77, 0.55]  # less by 1, 3 and 5 points: mean -3, s 2, though the means of both have an s of 10
RUN = frame(
    *(cell(m, 0.9, defense="fedavg", seed=s) for s, m in enumerate(FEDAVG)),
    *(cell(m, 0.9 - s / 10, defense="flame", seed=s, tpr=0.5) for s, m in reversed(list(enumerate(FLAME)))),
    *(cell(0.5, 0.4, defense="krum", seed=s) for s in (1, 2, 7)),
    cell(0.5, 0.4, defense="krum", seed=0, status="failed"),
    cell(0.5, 0.4, defense="flame", attack="dba"),
)
PLACE = ("badnets", 0.5)


def test_means_and_spreads_are_those_of_the_differences():
    made = table(RUN, metrics=("mta", "asr", "tpr"), against="fedavg")
    assert made.rows == (PLACE,), "dba has no cell of fedavg to subtract"
    assert made.cols == (("krum",), ("flame",))
    mta, asr, tpr = made.entry(PLACE, ("flame",)).numbers
    assert (mta.mean, mta.std, mta.n) == (pytest.approx(-0.03), pytest.approx(0.02), 3)
    assert (asr.mean, asr.std) == (pytest.approx(-0.1), pytest.approx(0.1))
    assert (tpr.mean, tpr.n) == (None, 0), "fedavg has no rate"
    assert made.texts(made.entry(PLACE, ("flame",))) == [
        ("-3.00", "2.00", False),
        ("-10.00", "10.00", False),
        ("–", None, False),
    ]
    krum = made.entry(PLACE, ("krum",))
    assert (krum.seeds, krum.failed) == ((1, 2), 1), "seed 7 has no partner"
    assert krum.numbers[0].mean == pytest.approx((-0.30 - 0.10) / 2)
    assert made.title == "MTA / ASR / TPR minus fedavg's, in percentage points"
    assert "Differences: each defense minus fedavg, seed by seed in the same setting." in made.notes
    assert not any("Bold" in note for note in made.notes)


@pytest.mark.parametrize(
    ("spread", "bounds"),
    [
        ("ci", "[-7.97, +1.97]"),  # t(0.975, 2) = 4.302653, times 2 / sqrt(3): 4.968
        ("bootstrap", "[-5.00, -1.00]"),
        ("range", "[-5.00, -1.00]"),
        ("none", None),
    ],
)
def test_intervals_of_differences_have_signs(spread, bounds):
    made = table(RUN, spread=spread, against="fedavg")
    assert made.texts(made.entry(PLACE, ("flame",)))[0] == ("-3.00", bounds, False)
    assert not any("leave 0 to 100" in note for note in made.notes)


def test_every_format():
    assert "-3.00 ± 2.00 / -10.00 ± 10.00" in formats.render(report.sheet(RUN, against="fedavg"), "markdown")
    latex = formats.render(report.sheet(RUN, against="fedavg", spread="ci"), "latex")
    assert r"$-$3.00\,{\scriptsize{[}$-$7.97, +1.97{]}}" in latex
    assert r"\textbf{MTA / ASR minus fedavg's, in percentage points}" in latex
    read = pd.read_csv(io.StringIO(formats.render(report.sheet(RUN, against="fedavg"), "csv"))).set_index("defense")
    assert read.loc["flame", ["against", "mta_n", "asr_n"]].tolist() == ["fedavg", 3, 3]
    assert read.loc["flame", ["mta_difference", "mta_std"]].tolist() == pytest.approx([-0.03, 0.02])
    assert "mta_mean" not in read
    seconds = table(RUN, metrics=("mta", "seconds_eval"), against="fedavg")
    assert seconds.title == "MTA minus fedavg's, in percentage points / s eval minus fedavg's"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_compiles(tmp_path):
    (tmp_path / "t.tex").write_text(formats.render(report.sheet(RUN, spread="ci", against="fedavg"), "latex"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0 or "standalone.cls' not found" in done.stdout, done.stdout[-2000:]


def test_held_out_server_data_make_no_pair():
    """Held-out images take data away from clients, so these cells had other ones; a teacher alone is no obstacle."""
    held_out = {"dataset": "digits", "server_data": "holdout:30"}
    run = frame(cell(0.9, **held_out, defense="fedavg"), cell(0.8, **held_out, defense="clip-fed"))
    made = table(run, against="fedavg")
    assert [entry.numbers[0].mean for entry in made.entries.values()] == [pytest.approx(-0.1)]
    with pytest.raises(UserError, match=r"no other defense has a setting and seed in common with fedavg"):
        table(
            frame(cell(0.9, dataset="digits", defense="fedavg"), cell(0.8, **held_out, defense="flame")),
            against="fedavg",
        )


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("fedvag", r"unknown defense of this run 'fedvag'. Did you mean 'fedavg'"),
        ("median", r"unknown defense of this run 'median'"),
    ],
)
def test_a_defense_that_is_not_there(against, message):
    with pytest.raises(UserError, match=message):
        table(RUN, against=against)
    with pytest.raises(UserError, match=message):
        html.render("r", RUN, pd.DataFrame(), against=against)


def section(page, id):
    return re.search(rf'<section id="{id}".*?</section>', page, re.DOTALL).group()


def test_the_page_compares_with_the_first_defense_or_another():
    page = section(html.render("r", RUN, pd.DataFrame()), "paired")
    assert "Paired differences from fedavg" in page
    assert "-3.0 <small>[-8.0, +2.0]</small>" in page
    assert "3 seeds are too few to say so without that proviso; it takes 6." in page
    other = section(html.render("r", RUN, pd.DataFrame(), spread="bootstrap", against="flame"), "paired")
    assert "Paired differences from flame" in other
    assert "+3.0 <small>[+1.0, +5.0]</small>" in other


def test_the_page_shows_the_spread_that_is_asked_for():
    assert "± 10.0" in section(html.render("r", RUN, pd.DataFrame()), "results")
    ranged = section(html.render("r", RUN, pd.DataFrame(), spread="range"), "results")
    assert "<small>[60.0, 80.0]</small>" in ranged
    assert "±" not in ranged


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (RUN[RUN.defense == "fedavg"], "it takes two defenses with cells that are done"),
        (RUN[RUN.seed == 0], "no defense has two seeds in common with fedavg in any setting"),
    ],
)
def test_the_page_says_why_nothing_is_compared(run, reason):
    page = html.render("r", run, pd.DataFrame())
    assert 'id="paired"' not in page
    assert f"Paired differences: {reason}" in section(page, "left-out")
