"""Defenses over all settings: ranks, intervals, probabilities and worst cases against counting by hand."""

from __future__ import annotations

import io
import itertools
import sys

import numpy as np
import pandas as pd
import pytest
from makers.frames import cell, frame
from scipy import stats

from clipfed_bench import report
from clipfed_bench.cli.table import table as command
from clipfed_bench.core.errors import UserError
from clipfed_bench.report import plots
from clipfed_bench.report.formats import render
from clipfed_bench.report.overall import bootstrap, ranks
from clipfed_bench.report.overall.scores import Scores, scores
from clipfed_bench.report.tables.table import to_records
from clipfed_bench.runs.metrics import METRICS

X = (np.array([0.7, 0.5]), np.array([0.2, 0.9, 0.4]))
Y = (np.array([0.6, 0.5]), np.array([0.3, 0.4, 0.1]))
ASR = {"fedavg": (0.9, 0.8, 0.7, 0.9), "krum": (0.1, 0.0, 0.3, 0.2), "flame": (0.1, 0.5, 0.4, 0.1)}


def run(**more):
    """MTA and ASR of three defenses under two attacks at two alphas, two seeds each, and of a clean cell."""
    places = list(itertools.product(("badnets", "dba"), (0.1, 0.5)))
    cells = [
        cell(0.5 + i / 10 + seed / 100, asr + seed / 100, attack=a, alpha=alpha, defense=name, seed=seed, **more)
        for i, (name, found) in enumerate(ASR.items())
        for (a, alpha), asr in zip(places, found, strict=True)
        for seed in (0, 1)
    ]
    clean = [cell(0.6, 0.1, attack="none", alpha=0.1, defense=d, seed=s, **more) for d in ASR for s in (0, 1)]
    return frame(*cells, *clean)


def of(results, metric="asr"):
    return scores(to_records(results), METRICS[metric])


def made(x=X, y=Y):
    return Scores(METRICS["mta"], ("a", "b"), {"x": x, "y": y}, 0, 0)


def test_a_mean_over_settings_and_all_its_resamples():
    assert bootstrap.mean(X) == pytest.approx((0.6 + 0.5) / 2)
    drawn = [
        np.mean([np.mean(one), np.mean(two)])
        for one in itertools.product(X[0], repeat=2)
        for two in itertools.product(X[1], repeat=3)
    ]  # all 4 · 27 of them
    expected = np.quantile(drawn, [0.1, 0.9])
    assert bootstrap.mean_interval(X, level=0.8) == pytest.approx(expected, abs=0.01)
    assert bootstrap.mean_interval(X) == bootstrap.mean_interval(X), "seeded"


def test_strata_are_never_mixed():
    """Two settings without any spread of their own have an interval of no width, however far apart they are."""
    assert bootstrap.mean_interval((np.array([0.1, 0.1]), np.array([0.9, 0.9]))) == (pytest.approx(0.5),) * 2


def test_improvement_is_mann_whitneys_share_and_its_interval_that_of_all_resamples():
    # Setting 1: 0.7 beats both, 0.5 loses and ties; setting 2: 0.2 beats 0.1, 0.9 all, 0.4 two and ties.
    assert bootstrap.improvement(X, Y, 1) == pytest.approx((2.5 / 4 + 6.5 / 9) / 2)
    u = [stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(X, Y, strict=True)]
    assert bootstrap.improvement(X, Y, 1) == pytest.approx(np.mean(u))
    assert bootstrap.improvement(X, Y, -1) == pytest.approx(1 - np.mean(u)), "where lower is better"
    one, other = X[:1], Y[:1]
    drawn = [
        np.mean([(a > b) + 0.5 * (a == b) for a in first for b in second])
        for first in itertools.product(one[0], repeat=2)
        for second in itertools.product(other[0], repeat=2)
    ]
    expected = np.quantile(drawn, [0.2, 0.8])
    assert bootstrap.improvement_interval(one, other, 1, level=0.6) == pytest.approx(expected, abs=0.02)


def test_ranks_by_hand_ties_share_theirs():
    found = of(run())
    # Of the four settings krum and flame share one, krum is first in two, flame in one; fedavg is last in all.
    assert ranks.mean_ranks(found) == {"fedavg": 3.0, "krum": 5.5 / 4, "flame": 6.5 / 4}
    by_mta = ranks.mean_ranks(of(run(), "mta"))  # the other way round, and all share the clean one
    assert by_mta == pytest.approx({"fedavg": 14 / 5, "krum": 2.0, "flame": 6 / 5})


def test_friedman_by_its_formula():
    found = of(run())
    mean = np.array(list(ranks.mean_ranks(found).values()))
    n, k = 4, 3
    statistic = 12 * n / (k * (k + 1)) * ((mean**2).sum() - k * (k + 1) ** 2 / 4)
    statistic /= 1 - 1 * (2**3 - 2) / (n * k * (k**2 - 1))  # one tie of two
    assert ranks.friedman(found) == pytest.approx(stats.chi2.sf(statistic, k - 1))
    assert ranks.friedman(made()) is None, "of two defenses"


def test_the_critical_difference_is_that_of_the_papers_example():
    """Demšar 2006, Section 3.2.2: 4 classifiers on 14 data sets, q 2.569, so 1.25."""
    four = {name: (np.zeros(1),) * 14 for name in "abcd"}
    assert ranks.critical_difference(Scores(METRICS["mta"], ("a",) * 14, four, 0, 0)) == pytest.approx(1.25, abs=0.005)
    assert ranks.friedman(Scores(METRICS["mta"], ("a",) * 14, four, 0, 0)) is None, "all are equal"


def test_settings_with_gaps_or_without_a_working_attack_are_left_out_and_seeds_are_common_ones():
    results = run()
    gone = (results.attack == "dba") & (results.alpha == 0.5) & (results.defense == "krum")
    found = of(results[~gone])
    assert (len(found.attacks), found.left_out, found.idle) == (3, 1, 1), "the clean cell has no ASR to speak of"
    assert len(of(results[~gone], "mta").attacks) == 4
    fewer = of(results[~((results.defense == "krum") & (results.seed == 0))])
    assert [len(values) for values in fewer.values["fedavg"]] == [1] * 4
    weak = results.assign(asr=results.asr.where(results.attack != "dba", 0.1))
    assert (len(of(weak).attacks), of(weak).idle) == (2, 3)


@pytest.mark.parametrize(
    ("results", "metric", "message"),
    [
        (run().query("alpha == 0.5 and attack == 'dba'"), "asr", "here are 3, and 1 such settings"),
        (run().query("defense == 'krum'"), "mta", "here are 1, and 5 such settings"),
        (run().assign(status="failed"), "mta", "no cell of this run is done"),
        (run(), "mta_start", "mta_start is neither better high nor low"),
    ],
)
def test_what_it_takes(results, metric, message):
    with pytest.raises(UserError, match=message):
        of(results, metric)


def test_defenses_of_one_name_are_told_apart():
    twins = (run().query("defense == 'krum'").assign(teacher=name, key=name) for name in ("a", "b"))
    assert list(of(pd.concat([run(), *twins]).query("defense != 'krum' or teacher == teacher")).values) == [
        *("fedavg", "flame", "krum, a", "krum, b"),
    ]


def test_the_sheet_has_a_row_for_each_defense_and_metric():
    shown = report.overall_sheet(run(), decimals=1)
    by_place = {row[1::-1]: tuple(cell.numbers[0].text for cell in row[2:]) for row in shown.rows}
    assert by_place["fedavg", "ASR"][3:5] == ("–", "–")
    mean, bounds, rank, p, _, worst, under = by_place["krum", "ASR"]
    assert (mean, rank, p, worst, under) == ("15.5", "1.38", "1.00", "25.5", "dba")
    assert bounds.startswith("[1")
    assert by_place["flame", "MTA"][-2:] == ("60.0", "none")
    read = pd.read_csv(io.StringIO(render(shown, "csv"))).set_index(["defense", "metric"])
    assert read.loc[("krum", "asr"), ["mean", "improvement", "worst"]].tolist() == pytest.approx([0.155, 1.0, 0.255])
    notes = " ".join(shown.notes)
    assert "ASR: 4 settings with 2 seeds each; 1 without an attack that works are left out." in notes
    assert "with 4 settings its distribution is a rough one. Critical difference of ranks" in notes
    other = report.overall_sheet(run(), against="krum")
    assert "does better than krum" in " ".join(other.notes)
    with pytest.raises(UserError, match="Did you mean 'krum'"):
        report.overall_sheet(run(), against="krumm")


def test_the_best_rank_is_that_of_a_defense_that_keeps_the_main_task():
    def ranked(results):
        found = {row[1]: row[4].numbers[0] for row in report.overall_sheet(results).rows if row[0] == "ASR"}
        return {name: (number.text, number.best, number.mark) for name, number in found.items()}

    assert ranked(run())["krum"] == ("1.38", True, "")
    lost = run().assign(mta=run().mta.where(run().defense != "krum", 0.3))
    assert list(ranked(lost).items()) == [
        ("krum", ("1.38", False, "†")),
        ("flame", ("1.62", True, "")),
        ("fedavg", ("3.00", False, "†")),  # loses more than five points to the attacks
    ]


def test_the_command_shows_it_instead_of_the_table(tmp_path, capsys):
    run().to_parquet(tmp_path / "results.parquet")
    command(tmp_path, aggregate=True, format="markdown", decimals=1)
    assert "| ASR      | krum      |   15.5 |" in capsys.readouterr().out
    for options in ({"cols": "attack"}, {"rows": "attack"}, {"spread": "ci"}, {"bounds": True}):
        with pytest.raises(UserError, match="--aggregate has rows and intervals of its own"):
            command(tmp_path, aggregate=True, **options)


def test_a_metric_without_enough_settings_is_left_to_a_note():
    only_clean = run().query("attack == 'none' or attack == 'badnets' and alpha == 0.5")
    shown = report.overall_sheet(only_clean)
    assert [row[0] for row in shown.rows] == ["MTA"] * 3
    assert any(note.startswith("Defenses do not compare over settings by ASR: it takes two") for note in shown.notes)


def test_without_the_library_it_is_said_once_and_all_else_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "scikit_posthocs", None)
    with pytest.raises(UserError, match=r"pip install 'clipfed-bench\[stats\]'"):
        next(plots.pages("ranks", run(), pd.DataFrame()))
    notes = report.overall_sheet(run()).notes
    assert sum("clipfed-bench[stats]" in note for note in notes) == 1


def test_the_diagram_has_every_defense_with_its_rank_and_bars_over_those_that_do_not_differ():
    pytest.importorskip("scikit_posthocs")
    (page,) = plots.pages("ranks", run(), pd.DataFrame())
    asr = page.figure.axes[1]
    texts = {text.get_text().strip() for text in asr.texts}
    assert {"fedavg (3.00)", "krum (1.38)", "flame (1.62)"} <= texts
    assert "ASR: mean ranks over 4 settings, 1 is best; critical difference 1.66" in asr.get_title(loc="left")
    assert "Mean ranks by ASR: krum 1.38, flame 1.62, fedavg 3.00; critical difference 1.66." in page.shows
    far = ranks.nemenyi(of(run())).to_numpy() < 0.05
    gaps = np.abs(np.subtract.outer(*[list(ranks.mean_ranks(of(run())).values())] * 2))
    assert (far == (gaps > ranks.critical_difference(of(run())))).all()
    with pytest.raises(UserError, match="three defenses or more; here are 2"):
        next(plots.pages("ranks", run().query("defense != 'krum'"), pd.DataFrame()))
