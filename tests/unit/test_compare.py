"""Two defenses on the same seeds: what is a pair, and what the comparison says."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.compare import compare_defenses
from clipfed_bench.report.formats import render
from clipfed_bench.report.formats.terminal import screen


def cell(mta, asr=0.5, status="done", tpr=None, **settings):
    spec = CellSpec(**settings)
    names = {f"{kind}_name": getattr(spec, kind).name for kind in ("attack", "defense")}
    figures = {"mta": mta, "asr": asr, "tpr": tpr} if status == "done" else {}
    return {"key": spec.key, "status": status, **spec.as_dict(), **names, **figures}


KRUM = [0.60, 0.64, 0.61]
FLAME = [0.70, 0.72, 0.74]
RUN = pd.DataFrame(
    [
        *(cell(m, 0.3, defense="krum", seed=s) for s, m in enumerate(KRUM)),
        *(cell(m, 0.1, defense="flame", seed=s, tpr=0.5) for s, m in reversed(list(enumerate(FLAME)))),
        cell(0.5, defense="krum", seed=0, attack="dba"),
        cell(0.4, defense="flame", seed=0, attack="dba"),
        cell(0.9, defense="flame", seed=1, attack="dba"),
        cell(0.9, defense="krum", seed=1, attack="dba", status="failed"),
        cell(0.9, defense="krum", seed=0, attack="blend"),
        cell(0.9, defense="fedavg", seed=0, attack="none"),
    ]
)


def test_pairs_are_of_the_same_setting_and_seed():
    sheet = compare_defenses(RUN, "flame", "krum")
    by_place = {(record["attack"], record["metric"]): record for record in sheet.records}
    assert list(by_place) == [("badnets", "mta"), ("badnets", "asr"), ("dba", "mta"), ("dba", "asr")]
    found = by_place["badnets", "mta"]
    oracle = stats.ttest_rel(FLAME, KRUM)
    assert (found["n"], found["a"], found["b"]) == (3, "flame", "krum")
    assert found["difference"] == pytest.approx((0.10 + 0.08 + 0.13) / 3)
    assert found["p_t"] == pytest.approx(oracle.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(oracle.confidence_interval(0.95)))
    assert found["p_sign_flip"] == 0.25
    assert found["p_sign_flip_holm"] == 1, "one of four"
    assert found["p_t_holm"] == found["p_t"], "the only row with a t test"
    assert by_place["dba", "mta"]["n"] == 1, "the other seed failed for one of them"
    assert by_place["dba", "mta"]["difference"] == pytest.approx(-0.1)
    assert any("Left out: 1 setting that" in note for note in sheet.notes), "blend"


def test_rows_as_shown():
    sheet = compare_defenses(RUN, "flame", "krum", decimals=1)
    low, high = stats.ttest_rel(FLAME, KRUM).confidence_interval(0.95)
    badnets = ("badnets", "0.5", "MTA", "3", "72.0", "61.7", "+10.3", f"[{100 * low:.1f}, {100 * high:.1f}]")
    assert sheet.rows[0] == (*badnets, "0.019", "1.000")
    assert sheet.rows[1][3:] == ("3", "10.0", "30.0", "-20.0", "[-20.0, -20.0]", "–", "1.000"), "no variance, no t"
    assert sheet.rows[2] == ("dba", "0.5", "MTA", "1", "40.0", "50.0", "-10.0", "–", "–", "1.000")
    assert sheet.heads[1:3] == (("flame",), ("krum",))
    assert any("with 3 seeds the sign-flip test cannot come below p = 0.25, and 6 are needed" in n for n in sheet.notes)


def test_enough_seeds_need_no_caution_and_one_seed_a_stronger_one():
    six = pd.DataFrame([cell(0.5 + s / 99, defense=d, seed=s) for d in ("flame", "krum") for s in range(6)])
    assert not any("too small" in note for note in compare_defenses(six, "flame", "krum").notes)
    one = six[six.seed == 0]
    assert any("says nothing of chance" in note for note in compare_defenses(one, "flame", "krum").notes)


def test_undefined_figures_are_no_zeros():
    sheet = compare_defenses(RUN, "flame", "krum", metrics=("tpr",))
    assert sheet.rows[0][3:] == ("0", *["–"] * 6)
    assert sheet.records[0]["difference"] is None


def test_a_varying_setting_is_a_column():
    rounds = pd.DataFrame([cell(0.5, defense=d, rounds=r) for d in ("flame", "krum") for r in (10, 20)])
    sheet = compare_defenses(rounds, "flame", "krum")
    assert sheet.corner == ("rounds", "attack", "alpha", "metric")
    assert [row[0] for row in sheet.rows] == ["10", "10", "20", "20"]


def test_held_out_data_belongs_to_the_setting_and_other_server_data_to_the_defense():
    def run(server, other):
        return pd.DataFrame(
            [cell(0.5, defense="clip-fed", server_data=server), cell(0.4, defense="krum", server_data=other)]
        )

    assert compare_defenses(run("holdout:30", "holdout:30"), "clip-fed", "krum").records[0]["n"] == 1
    assert compare_defenses(run("cifar10-generated", None), "clip-fed", "krum").records[0]["n"] == 1
    with pytest.raises(UserError, match="clip-fed and krum have no setting and seed in common"):
        compare_defenses(run("holdout:30", None), "clip-fed", "krum")


def test_defenses_are_found_by_any_spelling_of_their_options():
    assert compare_defenses(RUN, "flame[clip=true]", "krum").rows == compare_defenses(RUN, "flame", "krum").rows
    assert compare_defenses(RUN, "flame", "krum").title == "flame minus krum"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("flam", "krum", "unknown defense of this run 'flam'. Did you mean 'flame'"),
        ("flame[clip=false]", "krum", r"unknown defense of this run 'flame\[clip=false\]'"),
        ("median", "krum", "unknown defense of this run 'median'.* Known: fedavg, flame, krum"),
        ("flame", "flame[clip=true]", "are the same defense"),
        ("fedavg", "krum", "no setting and seed in common"),
    ],
)
def test_mistakes(a, b, message):
    with pytest.raises(UserError, match=message):
        compare_defenses(RUN, a, b)


def test_cells_that_cannot_be_told_apart_are_refused():
    teachers = pd.DataFrame(
        [
            *(cell(0.5, defense="clip-fed", teacher=f"open_clip:RN50/{tag}") for tag in ("a", "b")),
            cell(0.5, defense="krum"),
        ]
    )
    with pytest.raises(UserError, match="the cells of clip-fed differ in teacher"):
        compare_defenses(teachers, "clip-fed", "krum")
    twice = pd.concat([RUN, RUN.assign(key="0" * 16)])
    with pytest.raises(UserError, match="a default changed between them"):
        compare_defenses(twice, "flame", "krum")
    with pytest.raises(UserError, match="unknown metric 'mat'"):
        compare_defenses(RUN, "flame", "krum", metrics=("mat",))


def test_formats(tmp_path):
    sheet = compare_defenses(RUN, "flame", "krum")
    markdown = render(sheet, "markdown")
    assert re.search(r"\| attack +\| alpha +\| metric +\| +n \| +flame \| +krum \| +diff\. \|", markdown)
    assert re.search(r"\| badnets +\| 0\.5 +\| ASR +\| +3 \| +10\.00 \| +30\.00 \| +-20\.00 \|", markdown)
    frame = pd.read_csv(io.StringIO(render(sheet, "csv")))
    assert frame.difference.tolist() == pytest.approx([0.31 / 3, -0.2, -0.1, 0.0])
    latex = render(sheet, "latex")
    assert r"& ASR & 3 & 10.00 & 30.00 & $-$20.00 & {[}$-$20.00, $-$20.00{]} & \textendash{} & 1.000 \\" in latex
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(screen(sheet))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"badnets +0\.5 +MTA +3 +72\.00 +61\.67 +\+10\.33 +\[", line) for line in lines)
    if shutil.which("pdflatex"):
        (tmp_path / "c.tex").write_text(latex, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "c.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
        assert done.returncode == 0 or "standalone.cls' not found" in done.stdout, done.stdout[-2000:]
