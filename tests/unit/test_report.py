"""Tables against hand-computed numbers, and that they never average or claim what they must not."""

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
from clipfed_bench.report.formats.latex import escape
from clipfed_bench.report.formats.terminal import screen
from clipfed_bench.report.tables.table import table


def cell(mta=0.5, asr=0.5, status="done", **settings):
    spec = CellSpec(**settings)
    row = {"key": spec.key, "status": status, **spec.as_dict(), "mta": mta, "asr": asr, "tpr": None}
    row |= {f"{kind}_name": row[kind].partition("[")[0] for kind in ("attack", "defense")}
    return row if status == "done" else row | {"mta": None, "asr": None}


def frame(*cells):
    return pd.DataFrame(cells)


THREE = frame(
    *(cell(m, a, defense="fedavg", seed=s) for s, (m, a) in enumerate([(0.70, 0.9), (0.72, 1.0), (0.74, 0.8)])),
    *(cell(m, a, defense="krum", seed=s) for s, (m, a) in enumerate([(0.68, 0.1), (0.68, 0.2), (0.74, 0.0)])),
)


def entry(made, row, col):
    return made.entry(tuple(row), (col,))


def test_mean_and_sample_deviation_by_hand():
    made = table(THREE)
    fedavg, krum = (entry(made, ("badnets", 0.5), name).numbers for name in ("fedavg", "krum"))
    assert fedavg[0].mean == pytest.approx(0.72)
    assert fedavg[0].std == pytest.approx(0.02)  # sqrt((4 + 0 + 4) / 2) per cent
    assert fedavg[1].std == pytest.approx(0.1)
    assert krum[0].mean == pytest.approx(0.70)
    assert krum[0].std == pytest.approx(0.0012**0.5)  # sqrt((4 + 4 + 16) / 2) per cent
    assert made.texts(entry(made, ("badnets", 0.5), "krum")) == [("70.00", "3.46", False), ("10.00", "10.00", True)]
    assert [number.best for number in fedavg] == [True, False]
    assert "Mean ± sample standard deviation over 3 seeds (0, 1, 2)." in made.notes


def test_one_seed_has_no_spread():
    made = table(frame(cell(0.5, 0.25, seed=4)))
    assert made.texts(entry(made, ("badnets", 0.5), "fedavg")) == [("50.00", None, False), ("25.00", None, False)]
    assert "One seed (4) and so no spread." in made.notes
    assert "±" not in render(report.sheet(THREE.iloc[:1]), "markdown")


def test_ties_at_the_shown_precision_are_all_bold():
    results = frame(
        cell(0.50001, 0.3, defense="fedavg"), cell(0.50004, 0.2, defense="krum"), cell(0.49, 0.2, defense="flame")
    )
    made = table(results)
    best = [
        [number.best for number in entry(made, ("badnets", 0.5), name).numbers] for name in ("fedavg", "krum", "flame")
    ]
    assert best == [[True, False], [True, True], [False, True]]
    made = table(results, decimals=3)
    assert [entry(made, ("badnets", 0.5), n).numbers[0].best for n in ("fedavg", "krum")] == [False, True]


def test_best_is_among_defenses_wherever_they_stand():
    results = frame(
        cell(0.5, 0.2, defense="fedavg", alpha=0.1),
        cell(0.6, 0.1, defense="fedavg", alpha=0.5),
        cell(0.4, 0.3, defense="krum", alpha=0.1),
        cell(0.7, 0.0, defense="krum", alpha=0.5),
    )
    made = table(results, rows=("attack", "defense"), cols=("alpha",))
    assert [made.entry(("badnets", d), (a,)).numbers[0].best for d in ("fedavg", "krum") for a in (0.1, 0.5)] == [
        *(True, False),
        *(False, True),
    ]
    alone = table(frame(cell(alpha=0.1), cell(alpha=0.5)))
    assert not any(number.best for place in alone.entries.values() for number in place.numbers)


def test_order_of_rows_and_columns():
    names = ["clip-fed", "flame", "trimmed-mean", "median", "multi-krum", "krum", "fedavg"]
    results = frame(
        *(cell(defense=d, attack=a, alpha=al) for d in names for a in ("dba", "badnets") for al in (1, 0.1))
    )
    made = table(results)
    assert [col[0] for col in made.cols] == names[::-1]
    assert made.rows == (("badnets", 0.1), ("badnets", 1.0), ("dba", 0.1), ("dba", 1.0))


def test_fewer_seeds_failed_and_missing_are_told_apart():
    results = frame(
        *(cell(seed=s) for s in (0, 1)),
        cell(defense="krum"),
        cell(defense="krum", seed=1, status="failed"),
        cell(defense="flame", status="failed"),
        *(cell(attack="dba", seed=s) for s in (0, 1)),
    )
    made = table(results)
    lone = entry(made, ("badnets", 0.5), "krum")
    assert (made.seeds, made.fewer(lone), lone.failed) == (2, "1", 1)
    assert made.fewer(entry(made, ("badnets", 0.5), "fedavg")) == ""
    assert entry(made, ("badnets", 0.5), "flame").status == "failed"
    assert entry(made, ("dba", 0.5), "krum").status == "missing"
    assert any("2 of 7 cells failed." in note for note in made.notes)
    markdown = render(report.sheet(results), "markdown")
    assert re.search(r"\| badnets .*\(n=1\) +\| +failed", markdown)
    assert re.search(r"\| dba .*\| +– +\| +– +\|", markdown)
    latex = render(report.sheet(results), "latex")
    assert "$^{n=1}$" in latex
    assert r"\emph{failed}" in latex


def test_nothing_but_seeds_is_averaged():
    results = frame(cell(0.2, rounds=10), cell(0.8, rounds=20), cell(0.5, rounds=10, seed=1))
    made = table(results)
    assert made.row_axes == ("rounds", "attack", "alpha")
    assert [made.entry((r, "badnets", 0.5), ("fedavg",)).numbers[0].mean for r in (10, 20)] == [
        pytest.approx(0.35),
        0.8,
    ]
    assert any("rounds" in note and note.startswith("Shown as they vary") for note in made.notes)


def test_defenses_of_a_row_never_differ_in_anything_else():
    made = table(frame(cell(defense="fedavg", rounds=10), cell(defense="krum", rounds=20)))
    assert made.row_axes[0] == "rounds"
    assert entry(made, (10, "badnets", 0.5), "krum").status == "missing"


def test_settings_of_a_defense_split_its_column():
    results = frame(
        cell(defense="fedavg"),
        *(cell(defense="clip-fed", teacher=f"open_clip:{name}") for name in ("RN50/a", "RN50/b")),
    )
    made = table(results)
    assert made.row_axes == ("attack", "alpha")
    assert made.cols == (
        ("fedavg", None),
        ("clip-fed", "open_clip:RN50/a"),
        ("clip-fed", "open_clip:RN50/b"),
    )


def test_every_single_setting_that_varies_shows():
    changes = {"clients": 50, "lr": 0.2, "model": "cnn", "dataset": "cifar10", "attack": "badnets[size=3]", "target": 1}
    for name, value in changes.items():
        made = table(frame(cell(), cell(**{name: value})), rows=("alpha",))
        assert name in made.row_axes, name


def test_the_partition_decides_between_alpha_and_degree():
    assert table(frame(cell(partition="degree"))).row_axes == ("attack", "degree")
    assert table(frame(cell(partition="iid"))).row_axes == ("attack",)
    assert table(frame(cell(partition="degree"), cell(), cell(partition="iid"))).row_axes[-3:] == (
        "attack",
        "alpha",
        "degree",
    )


def test_two_cells_in_one_place_with_one_seed_are_refused():
    old = cell() | {"key": "0" * 16}
    with pytest.raises(UserError, match="a default changed"):
        table(frame(cell(), old))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": ("atack",)}, "Did you mean 'attack'"),
        ({"cols": ("attack",), "rows": ("attack",)}, "asked for twice"),
        ({"metrics": ("mat",)}, "Did you mean 'mta'"),
        ({"metrics": ()}, "at least one metric"),
        ({"cols": ()}, "at least one row axis and one column axis"),
        ({"decimals": 9}, "from 0 to 6"),
    ],
)
def test_bad_requests(options, message):
    with pytest.raises(UserError, match=message):
        table(THREE, **options)


def test_frames_that_are_no_results():
    with pytest.raises(UserError, match="not the results of a run"):
        table(pd.DataFrame({"key": ["a"], "mta": [1.0]}))
    with pytest.raises(UserError, match="no cells"):
        table(THREE.iloc[:0])


def test_undefined_metric_is_a_dash_and_not_a_number():
    made = table(THREE, metrics=("tpr", "mta"))
    assert made.texts(entry(made, ("badnets", 0.5), "fedavg"))[0] == ("–", None, False)
    assert made.fewer(entry(made, ("badnets", 0.5), "fedavg")) == ""


def test_notes_state_settings_teacher_and_upper_bound():
    common = {"server_data": "holdout:50", "model": "cnn", "rounds": 30, "warmup_rounds": 5}
    clip = cell(defense="clip-fed", teacher="open_clip:RN50/x", **common)
    notes = " ".join(table(frame(cell(**common), clip)).notes)
    for words in ("data set cifar10-lt", "imbalance factor 10", "model cnn", "5 clean warm-up rounds, 30 rounds"):
        assert words in notes
    assert "server data holdout:50" in notes
    assert "an upper bound" in notes
    assert "clip-fed: teacher open_clip:RN50/x, templates simple, 300 server images a class." in notes
    assert "upper bound" not in " ".join(table(THREE).notes)
    assert "teacher" not in " ".join(table(THREE).notes)


def test_notes_say_what_was_seen_of_server_data():
    seen = "generated, but 3 of 9 images look like cifar10's own, encoded again or resized"
    notes = " ".join(table(frame(cell() | {"server_label": seen}, cell(seed=1) | {"server_label": "generated"})).notes)
    assert f"Server data are {seen}." in notes


def test_notes_say_when_cells_come_from_different_sources_or_seeds():
    results = frame(cell() | {"git_sha": "aaa"}, cell(seed=1) | {"git_sha": "bbb"})
    assert "Cells differ in the version of the source: aaa, bbb." in table(results).notes
    unpaired = frame(cell(seed=0), cell(seed=1), cell(defense="krum", seed=2), cell(defense="krum", seed=3))
    assert any("not the same ones everywhere" in note for note in table(unpaired).notes)


@pytest.mark.parametrize(
    ("precisions", "note"),
    [
        (["float32", "float32"], ""),
        (["bfloat16", "float32"], "Cells differ in the precision: bfloat16, float32."),
        (["bfloat16", "bfloat16"], "Trained and evaluated in bfloat16, with float32 weights."),
    ],
)
def test_the_precision_is_noted_unless_it_is_float32(precisions, note):
    notes = table(frame(*(cell(seed=seed) | {"precision": name} for seed, name in enumerate(precisions)))).notes
    assert [text for text in notes if "float" in text] == ([note] if note else [])


def test_csv_holds_fractions_in_full_precision():
    results = frame(cell(1 / 3, 2 / 3), cell(attack="dba", defense="krum", status="failed"))
    read = pd.read_csv(io.StringIO(render(report.sheet(results), "csv"))).set_index(["attack", "defense"])
    assert read.loc[("badnets", "fedavg"), "mta_mean"] == 1 / 3
    assert pd.isna(read.loc[("badnets", "fedavg"), "mta_std"])
    assert read["status"].to_dict() == {
        ("badnets", "fedavg"): "done",
        ("badnets", "krum"): "missing",
        ("dba", "fedavg"): "missing",
        ("dba", "krum"): "failed",
    }


def test_markdown_escapes_and_shows_bold():
    text = render(report.sheet(frame(*THREE.to_dict("records"), cell(attack="badnets[size=3]"))), "markdown")
    assert "| badnets\\[size=3\\] |" in text
    assert "**72.00** ± 2.00 / 90.00 ± 10.00" in text
    assert text.startswith("**MTA / ASR in per cent**\n")


def test_latex_escapes_what_comes_from_outside():
    assert escape("a_b[c]&d%e#f$g{h}~^\\") == (
        r"a\_b{[}c{]}\&d\%e\#f\$g\{h\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert escape("--–\n漢é") == r"-{}-\textendash{}??é"


def nasty():
    """Four attacks by two alphas by four defenses, with labels that LaTeX would choke on, a failure and a gap."""
    cells = []
    for attack in ("badnets", "blend[ratio=0.3]", "dba", "frequency"):
        for alpha in (0.1, 0.5):
            for i, defense in enumerate(("fedavg", "krum", "flame", "clip-fed")):
                for seed in range(3):
                    failed = (attack, defense, alpha) == ("dba", "krum", 0.1)
                    if (attack, defense, alpha) != ("dba", "krum", 0.5):
                        values = {"attack": attack, "alpha": alpha, "defense": defense, "seed": seed}
                        values |= {"teacher": "open_clip:RN50/a_b%c", "server_data": "x&y_#1~"}
                        cells.append(cell(0.5 + i / 50 + seed / 90, 0.7, "failed" if failed else "done", **values))
    results = frame(*cells)
    results["attack"] = results["attack"].replace("frequency", "[x_{1}] 50%&#$^~\\ --漢")
    return results


def test_latex_is_a_booktabs_document_that_compiles(tmp_path):
    text = render(report.sheet(nasty()), "latex")
    tabular = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert tabular.count(rule) == 1
    assert tabular.count(r"\cmidrule{1-6}") == 3
    assert "attack & alpha & fedavg & krum & flame & clip-fed \\\\" in tabular
    rows = [line for line in tabular.splitlines() if re.search(r"& 0\.[15] &", line)]
    assert len(rows) == 8
    assert all(len(re.findall(r"(?<!\\)&", row)) == 5 for row in rows)
    assert text.count("{") == text.count("}")
    if not shutil.which("pdflatex"):
        print("pdflatex is not installed: structure checked, not compiled")
        return
    (tmp_path / "table.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    if "standalone.cls' not found" in done.stdout:
        print("the class standalone is not installed: structure checked, not compiled")
        return
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 1000


@pytest.mark.parametrize("width", [80, 100])
def test_screen_fits_four_defenses(width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(screen(report.sheet(nasty(), decimals=1)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert text.count("51.1 / 70.0") == 8
    assert re.search(r"badnets .*│ 0\.1 .*│ 51\.1 / 70\.0 │ 53\.1 / 70\.0 │ 55\.1 / 70\.0 │ 57\.1 / 70\.0 │", text)
    assert "failed" in text


def test_write_tables_writes_all_three(tmp_path):
    paths = report.write_tables(tmp_path / "new", report.sheet(THREE))
    assert [path.name for path in paths] == ["table.tex", "table.md", "table.csv"]
    assert all(path.read_text(encoding="utf-8") for path in paths)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
