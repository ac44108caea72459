"""Plots against hand-computed points; names, formats and errors of the files."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from makers.frames import cell, frame, grid, history
from matplotlib.container import BarContainer, ErrorbarContainer

from clipfed_bench.core.errors import UserError
from clipfed_bench.report import plots
from clipfed_bench.report.plots import alpha, cost, curves, panels, style, tradeoff
from clipfed_bench.report.plots.inline_svg import drawing_inline
from clipfed_bench.runs.metrics import SECONDS

NOTHING = pd.DataFrame()
NASTY = r'a"b<script>alert(1)</script>$\frac{1}$_%&#{x}~^'


def first(kind, results, evaluations):
    """The first figure."""
    return next(plots.pages(kind, results, evaluations)).figure


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(axes):
    """Label-less error bars of ``axes``: (x, y, reach down and up) of each in the order drawn."""
    found = []
    for bar in (c for c in axes.containers if isinstance(c, ErrorbarContainer)):
        line, _, sticks = bar
        ends = [stick.get_segments() for stick in sticks]
        found.append((line.get_xdata().tolist(), line.get_ydata().tolist(), ends))
    return found


def test_curves_are_means_over_seeds_with_a_sample_deviation():
    results = frame(*(cell(defense=d, seed=s) for d in ("fedavg", "krum") for s in (0, 1)))
    rounds = {
        ("fedavg", 0): {0: (0.1, 0.0), 10: (0.5, 0.9)},
        ("fedavg", 1): {0: (0.1, 0.0), 10: (0.7, 0.7)},
        ("krum", 0): {0: (0.1, 0.0), 10: (0.4, 0.0)},
        ("krum", 1): {0: (0.1, 0.0), 10: (0.4, 0.1)},
    }
    figure = first("curves", results, history(results, lambda r: rounds[r["defense"], r["seed"]]))
    left, right = figure.axes
    assert [line.get_xydata().tolist() for line in left.lines] == [
        [[0, 10], [10, pytest.approx(60)]],
        [[0, 10], [10, 40]],
    ]
    assert right.lines[0].get_ydata().tolist() == [0, pytest.approx(80)]
    # Sample deviations are sqrt(2) * 10 and sqrt(2) * 5 per cent; a band ends at 0.
    band = right.collections[1].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(5 + 5 * 2**0.5)
    assert band[:, 1].min() == 0
    assert legend_of(figure) == ["fedavg", "krum"]
    assert left.get_title(loc="left") == "badnets, alpha 0.5"


def test_curves_leave_out_what_failed_and_what_has_no_history():
    results, evaluations = grid()
    results.loc[(results.defense == "krum") & (results.attack == "dba"), "status"] = "failed"
    evaluations = evaluations[evaluations.key.isin(results.key[results.attack == "dba"])]
    figure = first("curves", results, evaluations)
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == ["dba, alpha 0.1", "dba, alpha 0.5"]
    assert legend_of(figure) == ["fedavg"]


def test_a_long_run_has_no_more_than_a_dozen_markers_a_curve():
    results = frame(cell())
    figure = first("curves", results, history(results, lambda r: dict.fromkeys(range(301), (0.5, 0.5))))
    assert figure.axes[0].lines[0].get_markevery() == 30


def test_the_tradeoff_has_a_point_for_each_defense_and_setting():
    results, _ = grid()
    figure = first("tradeoff", results, NOTHING)
    badnets, dba = figure.axes
    assert [axes.get_title(loc="left") for axes in (badnets, dba)] == ["badnets", "dba"]
    # fedavg: ASR 92 - 0 and 90 - 2 of seeds 0 and 1 for dba, MTA 50 and 52; its deviation is sqrt(2).
    assert [(x[0], y[0]) for x, y, _ in points(dba)] == [
        (pytest.approx(91), pytest.approx(51)),
        (pytest.approx(41), pytest.approx(61)),
    ] * 2
    (across, up) = points(dba)[0][2]
    assert across[0][:, 0] == pytest.approx([91 - 2**0.5, 91 + 2**0.5])
    assert up[0][:, 1] == pytest.approx([51 - 2**0.5, 51 + 2**0.5])
    fills = [bar[0].get_fillstyle() for bar in badnets.containers]
    assert fills == ["full", "full", "none", "none"]
    assert legend_of(figure) == ["fedavg", "krum", "alpha 0.1", "alpha 0.5"]


def test_more_settings_than_fillings_get_panels_of_their_own():
    results, _ = grid(alphas=(0.1, 0.2, 0.3, 0.4, 0.5), attacks=("badnets",))
    figure = first("tradeoff", results, NOTHING)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [f"badnets, alpha 0.{i}" for i in range(1, 6)]
    assert len(figure.axes) == 6  # the last place stays empty, and the panel above it is labeled
    assert shown[3].get_xlabel() == shown[4].get_xlabel() == "ASR (%), lower is better"
    assert all(bar[0].get_fillstyle() == "full" for axes in shown for bar in axes.containers)


def test_spreads_never_leave_0_to_100():
    assert panels.span(0.05, 0.2) == (5, (5, pytest.approx(20)))
    assert panels.span(0.9, 0.2) == (90, (pytest.approx(20), 10))
    assert panels.bar((0.0, 0.0)) is None


def test_against_alpha_on_a_logarithmic_axis():
    results, _ = grid()
    figure = first("alpha", results, NOTHING)
    mta, asr = figure.axes[:2]
    assert mta.get_xscale() == asr.get_xscale() == "log"
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["0.1", "0.5"]
    xs, ys, _ = points(mta)[1]
    assert ys == [pytest.approx(61)] * 2
    assert xs == [pytest.approx(0.1, rel=0.03), pytest.approx(0.5, rel=0.03)]
    assert points(mta)[0][0] != xs  # moved aside
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == ["badnets", "dba"]


def test_each_axis_that_varies_has_its_figure():
    shares = [(degree, share, seed) for degree in (0.1, 0.9) for share in (0.1, 0.4) for seed in (0, 1)]
    results = frame(*(cell(partition="degree", degree=d, malicious=m, seed=s) for d, m, s in shares))
    found = list(alpha.pages(results, NOTHING))
    assert [page.stem for page in found] == ["degree", "malicious"]
    malicious = found[1].figure.axes
    assert malicious[0].get_xscale() == "linear"
    assert [text.get_text() for text in malicious[-1].get_xticklabels()] == ["10", "40"]
    assert [axes.get_title(loc="left") for axes in malicious[::2]] == ["badnets, degree 0.1", "badnets, degree 0.9"]


def test_alphas_of_different_attacks_are_no_axis():
    results = frame(cell(alpha=0.1, attack="badnets"), cell(alpha=0.5, attack="dba"))
    with pytest.raises(UserError, match="two values of alpha or degree or malicious"):
        first("alpha", results, NOTHING)


def test_detection_shows_defenses_that_select():
    results, _ = grid()
    figure = first("detection", results, NOTHING)
    tpr, fpr = figure.axes
    assert legend_of(figure) == ["krum"]
    assert [x for x, _, _ in points(tpr)] == [[75]] * 4
    assert [x for x, _, _ in points(fpr)] == [[25]] * 4
    assert [y for _, y, _ in points(tpr)] == [[0], [1], [2], [3]]
    assert [text.get_text() for text in tpr.get_yticklabels()][:2] == ["badnets, alpha 0.1", "badnets, alpha 0.5"]


def test_cost_by_hand():
    slow = {"local": 16.0, "attack": 0.0, "defense": 4.0, "purify": 3.0, "eval": 2.0}
    results = frame(
        cell(rounds=4, attack="badnets", defense="fedavg"),
        cell(rounds=4, attack="badnets", defense="krum"),
        cell(rounds=4, attack="dba", defense="krum", seconds=slow),  # fedavg has not run it, so it does not count
    )
    (bars,) = cost.bars(results).values()
    assert [(bar.label, bar.cells) for bar in bars] == [("fedavg", 1), ("krum", 1)]
    assert bars[0].seconds == bars[1].seconds == (2.0, 0.25, 0.25, 0.75, 0.5)
    figure = first("cost", results, NOTHING)
    rows = [c for c in figure.axes[0].containers if isinstance(c, BarContainer)]
    assert [patch.get_width() for patch in (row[0] for row in rows)] == [2.0, 0.25, 0.25, 0.75, 0.5]
    assert [patch.get_x() for patch in (row[0] for row in rows)] == [0, 2.0, 2.25, 2.5, 3.25]
    assert len({row[0].get_hatch() for row in rows}) == 5
    assert legend_of(figure) == list(cost.PARTS)


def test_cost_is_a_mean_over_settings_and_never_over_models():
    results = frame(
        *(cell(rounds=1, alpha=a, seconds={"local": s, "attack": 0, "defense": 0, "purify": 0, "eval": 0})
          for a, s in ((0.1, 2.0), (0.5, 4.0))),
        cell(rounds=1, model="cnn"),
    )  # fmt: skip
    found = cost.bars(results)
    assert {title: bar.seconds[0] for title, (bar,) in found.items()} == {"cnn": 8.0, "resnet18": 3.0}
    assert found["resnet18"][0].cells == 2


def test_defenses_without_a_setting_in_common_keep_their_own():
    results = frame(cell(rounds=1, attack="badnets"), cell(rounds=1, attack="dba", defense="krum"))
    (bars,) = cost.bars(results).values()
    assert [bar.cells for bar in bars] == [1, 1]


@pytest.mark.parametrize("kind", plots.KINDS)
def test_nothing_done_is_an_error(kind):
    with pytest.raises(UserError, match="no cell of this run is done"):
        first(kind, frame(cell(status="failed")), NOTHING)
    with pytest.raises(UserError, match="no cells"):
        first(kind, frame(cell()).iloc[:0], NOTHING)


@pytest.mark.parametrize(
    ("kind", "results", "message"),
    [
        ("curves", frame(cell()), "no cell of this run has a history"),
        ("tradeoff", frame(cell(mta=np.nan)), "both an MTA and an ASR"),
        ("detection", frame(cell()), "no defense of this run rejects updates"),
        ("cost", frame(cell()).drop(columns=list(SECONDS)), "how long it took"),
        (
            "cost",
            frame(cell(seconds=dict.fromkeys(("local", "attack", "defense", "purify", "eval")))),
            "how long it took",
        ),
    ],
)
def test_what_a_kind_needs(kind, results, message):
    with pytest.raises(UserError, match=message):
        first(kind, results, NOTHING)


def test_unknown_kinds_and_formats():
    results, evaluations = grid(seeds=(0,))
    with pytest.raises(UserError, match="Did you mean 'tradeoff'"):
        first("trade-off", results, evaluations)
    with pytest.raises(UserError, match="Did you mean 'curves'"):
        plots.pages("curve", results, evaluations)


def test_files_are_numbered_whole_and_the_same_again(tmp_path):
    results, evaluations = grid(("krum",), (0.1, 0.2, 0.3, 0.4, 0.5), ("badnets",), (0,))
    results = results.replace({"defense": {"krum": NASTY}})
    first, again = (plots.write_plots("curves", results, evaluations, tmp_path / n, ("svg", "pdf")) for n in "ab")
    assert [path.name for path in first] == ["curves.svg", "curves.pdf", "curves-2.svg", "curves-2.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[1].read_bytes().startswith(b"%PDF-")
    assert ET.parse(first[0]).getroot().tag.endswith("svg")
    with pytest.raises(UserError, match="format of figures 'jpg'"):
        plots.write_plots("curves", results, evaluations, tmp_path / "c", ("pdf", "jpg"))
    assert not (tmp_path / "c").exists()


def test_defenses_look_the_same_on_every_page():
    results, evaluations = grid(("krum", "multi-krum", "median"), (0.1, 0.2, 0.3), seeds=(0,))
    first, second = (page.figure for page in curves.pages(results, evaluations))
    looks = [[(line.get_color(), line.get_marker()) for line in f.axes[0].lines] for f in (first, second)]
    assert looks[0] == looks[1]
    assert len(set(looks[0])) == 3


def test_defenses_are_told_apart_however_many():
    names = [
        *("clip-fed", "fedavg", "flame", "fltrust", "foolsgold", "fedcpa", "krum"),
        *(f"new-{i}" for i in range(20)),
    ]
    found = style.looks(names)
    assert list(found) == names
    assert len({(look.color, look.marker) for look in found.values()}) == 27
    assert len({look.color for look in list(found.values())[:8]}) == 8
    assert style.looks(["krum"])["krum"] == found["krum"]


def test_crowded_panels_have_no_bands_and_no_second_setting():
    names = ("fedavg", "krum", "flame", "median", "rlr", "fltrust", "foolsgold")
    many, evaluations = grid(names, attacks=("badnets",))
    assert not first("curves", many, evaluations).axes[0].collections
    few = many[many.defense.isin(names[:6])]
    assert len(first("curves", few, evaluations).axes[0].collections) == 6
    assert list(tradeoff._groups(panels.done_table(many, ("mta", "asr")))) == ["badnets"]
    wide, _ = grid(names[:6], (0.1, 0.2, 0.3), ("badnets",), (0,))
    assert list(tradeoff._groups(panels.done_table(wide, ("mta", "asr")))) == [
        f"badnets, alpha 0.{i}" for i in (1, 2, 3)
    ]


def test_long_names_are_broken_at_commas():
    assert panels.wrapped("clip-fed[rectify=false,transfer=false]", 30) == "clip-fed[rectify=false,\ntransfer=false]"
    assert panels.wrapped("a b", 80) == "a b"
    assert panels.wrapped("x" * 7, 3) == "xxx\nxxx\nx"
    assert panels.wrapped("", 3) == ""


def test_chunks_are_about_equal():
    def shown(items):
        return [(page.stem, page.figure) for page in panels.paged("p", "", items, 4, list, str)]

    assert [len(part) for _, part in shown(range(9))] == [3, 3, 3]
    assert shown("abcde") == [("p", ["a", "b"]), ("p-2", ["c", "d", "e"])]


def test_legends_fill_lines_evenly():
    assert panels.legend_columns(["abc"] * 7) == 7
    assert panels.legend_columns(["x" * 20] * 4) == 2  # there is room for three, and two lines of two look better
    assert panels.legend_columns(["x" * 80, "y"]) == 1
    assert panels.legend_columns([]) == 1


def test_drawing_leaves_no_global_state():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style.drawing():
        assert matplotlib.rcParams["text.parse_math"] is False
    with drawing_inline():
        assert matplotlib.rcParams["svg.fonttype"] == "none"
    assert dict(matplotlib.rcParams) == before


def test_kinds_are_known_without_a_plotting_library():
    code = "import sys, clipfed_bench.report.plots; print({'matplotlib', 'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_powers_of_ten_are_plain_text():
    assert [style.power_of_ten(10.0**k) for k in (-12, 0, 3)] == ["10⁻¹²", "10⁰", "10³"]
