"""Which rows of a table count: defenses that keep the main task, attacks that work, and how much a 0.00 says."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from makers.frames import cell, frame
from rich.console import Console
from scipy import stats

from clipfed_bench import report
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.formats import render
from clipfed_bench.report.formats.terminal import screen
from clipfed_bench.report.page import html
from clipfed_bench.report.tables.binomial import images, wilson
from clipfed_bench.report.tables.table import table

PLACE = ("badnets", 0.5)
CLEAN = cell(0.62, 0.1, attack="none")
ATTACKED = (cell(0.60, 0.9), cell(0.58, 0.3, defense="flame"), cell(0.40, 0.0, defense="krum"))


def best(made, row=PLACE):
    """Of each defense, whether its MTA and its ASR are bold."""
    return {col[0]: tuple(n.best for n in made.entry(row, col).numbers) for col in made.cols}


def test_bold_is_the_best_of_those_that_keep_the_main_task():
    made = table(frame(CLEAN, *ATTACKED))
    assert best(made) == {"fedavg": (True, False), "krum": (False, False), "flame": (False, True)}
    assert made.texts(made.entry(PLACE, ("krum",)))[1] == ("0.00", None, False)
    assert made.marks(PLACE, ("krum",)) == ["†", ""]
    assert "†: MTA more than 5 points below FedAvg's without an attack, and so never bold." in made.notes
    assert not any("stands in" in note for note in made.notes)


def test_the_limit_is_an_option_and_counts_the_points_themselves():
    assert best(table(frame(CLEAN, *ATTACKED), admissible=22))["krum"] == (False, True), (
        "0.62 - 0.40, to the bit or not"
    )
    assert best(table(frame(CLEAN, *ATTACKED), admissible=3.9))["flame"] == (False, False)
    assert best(table(frame(CLEAN, *ATTACKED), admissible=3.9))["fedavg"] == (True, True), "the one that is left"
    assert not any("†" in note for note in table(frame(CLEAN, *ATTACKED), admissible=100).notes)
    with pytest.raises(UserError, match="admissible: 101 points are out of range"):
        table(frame(CLEAN), admissible=101)


def test_only_seeds_that_both_have_are_compared():
    clean = (cell(0.62, 0.1, attack="none"), cell(0.90, 0.1, attack="none", seed=1))
    assert best(table(frame(*clean, *ATTACKED)))["flame"] == (False, True)


def test_without_a_clean_cell_the_attacked_one_stands_in_and_without_any_nothing_is_judged():
    made = table(frame(*ATTACKED))
    assert made.entry(PLACE, ("krum",)).admissible is False
    assert "FedAvg was not run without an attack; its MTA under the same attack stands in for that." in made.notes
    other = table(frame(CLEAN, *ATTACKED, *(cell(0.5, 0.9, alpha=0.1, defense=d) for d in ("fedavg", "flame"))))
    assert any("not run without an attack for 2 of 6 places" in note for note in other.notes)
    bare = table(frame(*ATTACKED[1:]))
    assert best(bare) == {"krum": (False, True), "flame": (True, False)}
    assert "Without FedAvg's MTA no place could be judged by what the main task loses." in bare.notes


def test_a_row_whose_attack_does_not_work_is_marked_in_every_form():
    idle = [cell(0.6, 0.1, attack="dba", defense=d) for d in ("fedavg", "krum")]
    run = frame(CLEAN, *ATTACKED, *idle)
    made = table(run)
    assert made.idle == {("dba", 0.5)}
    assert made.entry(PLACE, ("krum",)).works is True
    assert made.entry(("none", 0.5), ("fedavg",)).works is None
    out = io.StringIO()
    Console(file=out, width=90, color_system=None).print(screen(report.sheet(run, decimals=1)))
    assert "│ 0.5‡ " in out.getvalue()
    assert "40.0† / 0.0" in out.getvalue()
    assert r"0.5\textdaggerdbl{} &" in render(report.sheet(run), "latex")
    assert r"40.00\textdagger{} / 0.00" in render(report.sheet(run), "latex")
    assert "| 0.5‡ " in render(report.sheet(run), "markdown")
    by_defense = table(run, rows=("alpha", "defense"), cols=("attack",))
    assert by_defense.col_labels[-1] == ("dba‡",)
    assert not any(by_defense.marks((0.5, "krum"), ("dba",)))


def test_an_attack_may_work_with_other_clients_alone():
    run = frame(cell(0.6, 0.9), cell(0.6, 0.1, clients=50), cell(0.6, 0.0, clients=50, defense="krum"))
    made = table(run)
    assert made.idle == {(50, *PLACE)}
    assert any("say nothing of one: clients 50 (ASR 10.0)." in note for note in made.notes)


def test_a_place_is_marked_where_its_row_and_column_have_others():
    run = frame(
        *ATTACKED,
        cell(0.6, 0.1, alpha=0.1),
        cell(0.6, 0.9, attack="dba"),
        cell(0.6, 0.9, "done", alpha=0.1, attack="dba"),
    )
    made = table(run, rows=("alpha",), cols=("attack", "defense"))
    assert made.idle == set()
    assert made.marks((0.1,), ("badnets", "fedavg")) == ["‡", ""]


def test_differences_that_a_corrected_test_tells_from_0_are_marked():
    mtas = {"fedavg": (0.60, 0.61, 0.62), "flame": (0.50, 0.51, 0.521), "krum": (0.60, 0.62, 0.61)}
    run = frame(*(cell(m, 0.5, defense=d, seed=s) for d, found in mtas.items() for s, m in enumerate(found)))
    made = table(run, against="fedavg")
    assert made.marks(PLACE, ("flame",)) == ["*", ""]
    assert made.marks(PLACE, ("krum",)) == ["", ""]
    p = stats.ttest_rel(mtas["flame"], mtas["fedavg"]).pvalue
    assert made.entry(PLACE, ("flame",)).numbers[0].p == pytest.approx(2 * p), "two tests: ASR does not differ at all"
    assert "*: apart from 0, p < 0.05 in a paired t test, corrected for all 2 of the table (Holm)." in made.notes
    assert made.entry(PLACE, ("krum",)).admissible is None


def test_wilsons_bound_by_its_formula():
    """Without a hit the bound is z² / (n + z²)."""
    z = stats.norm.ppf(0.975)
    assert wilson(0.0, 9000) == pytest.approx(z**2 / (9000 + z**2))
    centre, half = 3 / 100 + z**2 / 200, z * (0.03 * 0.97 / 100 + z**2 / 40_000) ** 0.5
    assert wilson(0.03, 100) == pytest.approx((centre + half) / (1 + z**2 / 100))


def test_a_share_of_0_has_its_bound_where_asked():
    made = table(frame(*ATTACKED), bounds=True)
    assert made.texts(made.entry(PLACE, ("krum",))) == [("40.00", None, False), ("0.00 (≤0.043)", None, False)]
    assert any(note.startswith("0.00 (≤ a bound): upper end of Wilson's 95 % interval") for note in made.notes)
    assert r"0.00 ($\leq$0.043)" in render(report.sheet(frame(*ATTACKED), bounds=True), "latex")
    pages = [html.render("run", frame(*ATTACKED), pd.DataFrame(), bounds=bounds) for bounds in (True, False)]
    assert [">0.0 (≤0.043)<" in page for page in pages] == [True, False]
    record = dict(cell(dataset="digits", target=1))
    assert [images(name, record) for name in ("mta", "asr", "tpr")] == [450, 450 - 46, None]
    assert images("asr", record | {"dataset": "gone"}) is None
    assert images("mta", record | {"evaluate": "validation"}) is None
