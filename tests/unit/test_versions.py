"""Cells side by side that were computed from different versions of something: every table and figure says so."""

from __future__ import annotations

import pytest
from makers import frames
from matplotlib.figure import Figure

from clipfed_bench import report
from clipfed_bench.report import plots
from clipfed_bench.report.compare import compare_defenses
from clipfed_bench.report.page.html import render
from clipfed_bench.report.plots.style import remark, save
from clipfed_bench.report.tables.table import plain_records
from clipfed_bench.report.tables.versions import versions

OWN = {"digest_simulator": "s1", "digest_attack": "a1", "digest_defense": "d1", "digest_data": "x1"}
NOTE = "Two versions of attack badnets: cells of seed 0 and of seeds 1, 2."


def cells(change=lambda row: {}, **axes):
    """A run in which each cell has digests, those of ``change`` its own."""
    results, history = frames.grid(**{"seeds": (0, 1, 2), **axes})
    rows = [row | OWN | {"digest_attack": row["attack"], "digest_defense": row["defense"]} for row in
            results.to_dict("records")]  # fmt: skip
    return frames.frame(*(row | change(row) for row in rows)), history


def said(change, **axes):
    return versions(plain_records(cells(change, **axes)[0]))


def mended(row):
    return {"digest_attack": "a2"} if row["attack"] == "badnets" and row["seed"] == 0 else {}


def test_other_attacks_have_other_digests_and_that_is_no_difference():
    assert said(lambda row: {}) == ()
    assert said(lambda row: dict.fromkeys(OWN)) == (), "cells of before, all alike"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (mended, NOTE),
        (lambda row: {"digest_simulator": f"{row['alpha']}"}, "Two versions of the simulator: cells of alpha {} and"),
        (lambda row: {"digest_data": f"{row['seed']}"}, "Three versions of data set cifar10-lt: cells of seed 0 and"),
        (
            lambda row: {"digest_attack": "a2", "digest_defense": "d2"} if row["seed"] == 2 else {},
            "Two versions of attack badnets, attack dba, defense fedavg, defense krum: cells of seeds 0, 1 and of",
        ),
        (
            lambda row: {"digest_data": "2"} if (row["seed"], row["attack"]) == (0, "dba") else {},
            "20 cells and 4 cells",
        ),
        (
            lambda row: {"metric_area": "m2" if row["seed"] == 1 else "m1"},
            "Two versions of metric area: cells of seeds 0, 2 and of seed 1.",
        ),
        (lambda row: dict.fromkeys(OWN) if row["seed"] == 2 else {}, "cells are computed from: seed 2."),
    ],
)
def test_which_cells_are_of_which_version_is_said(change, sentence):
    (found,) = said(change, alphas=(0.1, 0.5))
    assert all(part in found for part in sentence.split("{}"))


def test_one_version_in_words_and_a_cell_that_failed_has_no_part_in_it():
    results, _ = cells(mended)
    failed = results.assign(status=["failed" if seed == 0 else "done" for seed in results["seed"]])
    assert versions(plain_records(results)) == (NOTE,)
    assert versions(plain_records(failed)) == ()


def test_weights_that_come_by_a_name_are_compared_where_they_were_loaded():
    taught = {"digest_teacher": "t", "teacher": "local"}
    results, _ = cells(lambda row: taught | {"teacher_identity": f"{row['seed'] > 0}"})
    assert versions(plain_records(results)) == ("Two versions of teacher local: cells of seed 0 and of seeds 1, 2.",)


def test_tables_comparisons_pages_and_figures_say_so(tmp_path, monkeypatch):
    results, history = cells(mended, attacks=("badnets",))
    assert NOTE in report.sheet(results).notes
    assert NOTE in compare_defenses(results, "krum", "fedavg").notes
    assert NOTE in render("run", results, history)
    (tmp_path / "plots").mkdir()
    texts = []
    monkeypatch.setattr("clipfed_bench.report.plots.style.save", lambda figure, *more: texts.append(figure) or [])
    plots.write_plots("tradeoff", results, history, tmp_path / "plots")
    assert [figure.get_supxlabel() for figure in texts] == [NOTE]
    assert save(texts[0], tmp_path / "plots", "one", ["png"])[0].stat().st_size > 0


def test_a_figure_with_a_title_says_so_there():
    figure = Figure()
    figure.suptitle("What it is")
    remark(figure, [NOTE])
    remark(figure, [])
    assert figure.get_suptitle() == f"What it is\n{NOTE}"
    assert figure.get_supxlabel() == ""
