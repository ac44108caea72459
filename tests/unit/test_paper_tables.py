"""The paper's tables: published values found by our settings, hand-computed means and differences, every format."""

from __future__ import annotations

from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from clipfed_bench.config.grid import expand, load_preset, make_grid
from clipfed_bench.config.words import scale
from clipfed_bench.core.errors import UserError
from clipfed_bench.paper.published import published
from clipfed_bench.paper.render import in_files, on_screen
from clipfed_bench.paper.tables import LAYOUTS, _low, paper_table
from clipfed_bench.report.formats import render
from clipfed_bench.report.formats.markdown import markdown
from clipfed_bench.report.formats.terminal import screen
from clipfed_bench.report.tables.marked import BOUND

TABLE3 = {"degree": [0.4], "partition": ["degree"], "malicious": [0.2, 0.3]}


def results(cells, figures):
    """``figures``: (defense, malicious, seed) -> (mta, asr); a cell without figures is not done."""
    rows = [
        row(c) | {"mta": figures[place][0], "asr": figures[place][1]}
        for c in cells
        if (place := (str(c.defense), c.malicious, c.seed)) in figures
    ]
    return pd.DataFrame(rows, columns=[*row(cells[0]), "mta", "asr"])


def row(cell):
    """A finished cell as results have it, without figures."""
    names = {"attack_name": cell.attack.name, "defense_name": cell.defense.name}
    return {**cell.as_dict(), "key": cell.key, "status": "done", **names}


@pytest.fixture
def table3():
    cells = expand({**TABLE3, "defense": ["fedavg", "clip-fed"], "seed": [0, 1]})
    figures = {
        ("fedavg", 0.2, 0): (0.60, 0.80),
        ("fedavg", 0.2, 1): (0.70, 0.90),
        ("clip-fed", 0.2, 0): (0.56, 0.05),
        ("fedavg", 0.3, 0): (0.40, 0.50),
        ("clip-fed", 0.3, 0): (0.45, 0.60),
    }
    return paper_table("table3", cells, results(cells, figures))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_published_row_has_a_cell_in_the_full_preset(name):
    layout = LAYOUTS[name]
    cells = make_grid(load_preset(f"paper-{name}")).cells
    ours = {tuple(cell.as_dict()[axis] for axis in layout.axes) for cell in cells}
    known = published(layout.number, layout.axes)
    assert set(known) <= ours
    assert len(known) == {"table1": 72, "table2": 36, "table3": 18, "table4": 12, "table5": 24}[name]


def test_published_values_are_fractions_by_our_names():
    ablation = published(2, ("dataset", "defense", "attack"))
    assert ablation["cifar10-lt", "clip-fed", "badnets"] == pytest.approx((0.7340, 0.0411))
    assert ("cifar10", "clip-fed[rectify=false]", "afa") in ablation
    assert ("badnets[size=1]", "clip-fed", 0.6) in published(5, ("attack", "defense", "poison_ratio"))


def test_means_spreads_and_differences(table3):
    value = table3.values["fedavg", 0.2, "mta"]
    assert value.ours.mean == pytest.approx(0.65)
    assert value.ours.std == pytest.approx(0.0707107, abs=1e-6)
    assert value.ours.n == 2
    known = published(3, ("defense", "malicious"))["fedavg", 0.2][0]
    assert value.difference == pytest.approx(0.65 - known)
    assert table3.values["clip-fed", 0.2, "asr"].ours.std is None


def test_best_of_ours_and_of_the_published_are_marked_apart(table3):
    assert table3.values["fedavg", 0.2, "mta"].ours.best
    assert not table3.values["clip-fed", 0.2, "mta"].ours.best
    assert table3.values["clip-fed", 0.2, "asr"].ours.best
    assert table3.values["fedavg", 0.3, "asr"].ours.best  # ours: 0.5 against 0.6
    assert table3.values["clip-fed", 0.3, "asr"].best_published


def test_bold_is_for_defenses_that_keep_the_main_task():
    cells = expand({**TABLE3, "defense": ["fedavg", "krum", "clip-fed"], "malicious": [0.2], "seed": [0]})
    figures = {("fedavg", 0.2, 0): (0.60, 0.30), ("krum", 0.2, 0): (0.54, 0.01), ("clip-fed", 0.2, 0): (0.56, 0.05)}
    found = results(cells, figures)
    made = paper_table("table3", cells, found)
    asr = {name: made.values[name, 0.2, "asr"].ours.best for name in ("fedavg", "krum", "clip-fed")}
    assert asr == {"fedavg": False, "krum": False, "clip-fed": True}  # Krum's is lower, six points of MTA away
    assert [made.values[name, 0.2, "mta"].mark for name in asr] == ["‡", "†‡", "‡"]  # the attack does nothing
    markdown = render(in_files(made), "markdown")
    assert "54.00†‡" in markdown
    assert "†: MTA more than 5 points below FedAvg's without an attack, and so never bold." in made.notes
    assert any(note.startswith("‡: the attack does not work without a defense") for note in made.notes)
    every = paper_table("table3", cells, found, admissible=100)
    assert every.values["krum", 0.2, "asr"].ours.best
    assert every.values["krum", 0.2, "mta"].mark == "‡"
    with pytest.raises(UserError, match="it must be from 0 to 100"):
        paper_table("table3", cells, found, admissible=-1)


def test_an_asr_of_0_has_its_bound_where_asked():
    cells = expand({**TABLE3, "dataset": ["cifar10-lt"], "defense": ["fedavg", "clip-fed"]})
    figures = {(d, m, 0): (0.6, 0.0 if d == "clip-fed" else 0.9) for d in ("fedavg", "clip-fed") for m in (0.2, 0.3)}
    found = results(cells, figures)
    plain, made = (paper_table("table3", cells, found, bounds=bounds) for bounds in (False, True))
    assert BOUND in made.notes
    assert BOUND not in plain.notes
    assert markdown(in_files(made)).count("0.00 (≤0.043)") == 2, "ours, of 9,000 images"
    assert "(≤" not in markdown(in_files(plain))
    assert made.frame().equals(plain.frame().assign(scale=made.frame().scale))


def test_published_values_are_bold_by_the_same_rule():
    layout, places = LAYOUTS["table3"], {("fedavg", 0.2): 0.70, ("krum", 0.2): 0.6499, ("clip-fed", 0.2): 0.65}
    assert _low(layout, places, 5.0) == {("krum", 0.2)}
    assert _low(layout, places, 100.0) == set()
    assert _low(LAYOUTS["table2"], {("cifar10", "clip-fed", "badnets"): 0.1}, 5.0) == set()  # without FedAvg


def test_notes_count_orderings_and_gaps(table3):
    # MTA: ours fedavg first, clip-fed first; published (Table 3): clip-fed first in both. ASR: one of two agrees.
    text = "\n".join(table3.notes)
    assert "1 of 2 by MTA, 1 of 2 by ASR" in text
    assert "3 of 8 cells are not done, or failed." in text
    assert "ResNet-18, 100 clients (10 a round, 20/30 % malicious), 300 rounds" in table3.notes[0]


def test_nothing_done_is_a_table_of_published_values_alone():
    cells = expand({**TABLE3, "defense": ["fedavg", "krum"]})
    made = paper_table("table3", cells, results(cells, {}))
    assert made.values["krum", 0.2, "mta"].published is None
    assert made.values["fedavg", 0.2, "mta"].published is not None
    assert made.frame()["mta"].isna().all()
    assert "publ" in render(in_files(made), "markdown")


def test_markdown_latex_and_screen_say_the_same(table3):
    known = published(3, ("defense", "malicious"))["fedavg", 0.2][0]
    markdown, latex = render(in_files(table3), "markdown"), render(in_files(table3), "latex")
    assert "**65.00** ± 7.07" in markdown
    assert f"{65 - 100 * known:+.2f}".replace("-", "−") in markdown
    assert r"\textbf{65.00}\,{\scriptsize$\pm$7.07}" in latex
    assert f"${65 - 100 * known:+.2f}$" in latex
    console = Console(width=80, record=True, file=StringIO())
    console.print(screen(on_screen(table3)))
    shown = console.export_text()
    assert "65.0 / 85.0" in shown
    assert f"{100 * known:.1f}" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_frame_has_a_row_for_each_place_in_fractions(table3):
    frame = table3.frame()
    assert len(frame) == 4
    row = frame[(frame["defense"] == "fedavg") & (frame["malicious"] == 0.2)].iloc[0]
    assert (row["mta"], row["mta_seeds"]) == (pytest.approx(0.65), 2)
    assert row["scale"].startswith("Ours: ResNet-18")


def test_scale_in_words_names_what_is_small():
    cells = make_grid(load_preset("paper-table1").at("cpu")).cells
    assert scale([cell.as_dict() for cell in cells]) == (
        "small CNN, 100 clients (10 a round, 20 % malicious), 60 clean and 10 attacked rounds, degree 0.4, "
        "teacher local, server data cifar10-generated"
    )


def test_options_in_brackets_are_no_markup_on_screen():
    cells = make_grid(load_preset("paper-table2").at("cpu")).cells
    console = Console(width=110, record=True, file=StringIO())
    console.print(screen(on_screen(paper_table("table2", cells, results(cells, {})))))
    assert "[rectify=false]" in console.export_text()


def test_cells_of_different_versions_are_not_averaged_without_a_word():
    cells = expand({**TABLE3, "defense": ["fedavg"], "seed": [0, 1]})
    rows = [row(cell) | {"mta": 0.5, "asr": 0.5, "digest_attack": f"{cell.seed}"} for cell in cells]
    made = paper_table("table3", cells, pd.DataFrame(rows))
    assert "Two versions of attack badnets: cells of seed 0 and of seed 1." in made.notes
