"""Figures of results (6 and 7) and what all figures say: numbers by hand, what is drawn, and what is refused."""

from __future__ import annotations

import math

import pytest

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.grid import expand
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import CellResult, Environment
from clipfed_bench.paper.figures import curves, teachers, text
from clipfed_bench.report.plots.style import drawing, looks, save
from clipfed_bench.runs.store import RunStore

SMALL = {"dataset": "digits", "model": "cnn", "clients": 20, "rounds": 4, "warmup_rounds": 3, "local_epochs": 1}
GLYPHS = {"server_data": "glyphs", "server_per_class": 5}


def cells(**values):
    return list(expand({**{k: [v] for k, v in SMALL.items()}, **values}))


def fill(store, planned, mta, asr=lambda cell, r: 0.5, facts=lambda cell: {}):
    """Stores ``planned`` with the shares that the functions of (cell, round) give in rounds 0, 2 and 4."""
    for cell in planned:
        history = [{"round": r, "mta": mta(cell, r), "asr": asr(cell, r)} for r in (0, 2, 4)]
        store.put(cell, CellResult(history, {k: history[-1][k] for k in ("mta", "asr")}, facts(cell)))
    return planned


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path)


def make(module, planned, store):
    with drawing():
        return module.make(planned, Environment(), store)


def title(figure):
    return " ".join(figure.get_suptitle().split())


GRID = {"malicious": [0.3, 0.2], "defense": ["krum", "fedavg"], "seed": [0, 1]}


def share(cell, round_):
    return 0.1 * cell.seed + 0.01 * round_ + cell.malicious + (0.2 if cell.defense.name == "krum" else 0)


def test_curves_are_means_and_ranges_over_seeds(store):
    planned = fill(store, cells(**GRID), share, lambda cell, r: 1 - share(cell, r))
    figure, numbers = make(curves, planned, store)
    assert list(numbers.columns) == ["malicious", "defense", "metric", "round", "mean", "low", "high", "seeds"]
    assert len(numbers) == 2 * 2 * 2 * 3
    row = numbers.set_index(["malicious", "defense", "metric", "round"]).loc[(0.3, "krum", "mta", 4)]
    assert row.tolist() == pytest.approx([0.59, 0.54, 0.64, 2])
    row = numbers.set_index(["malicious", "defense", "metric", "round"]).loc[(0.2, "fedavg", "asr", 2)]
    assert row.tolist() == pytest.approx([0.73, 0.68, 0.78, 2])
    assert numbers["malicious"].is_monotonic_increasing
    assert numbers["defense"].tolist()[:7] == ["fedavg"] * 6 + ["krum"]

    assert [axes.get_title() for axes in figure.axes] == ["20 % malicious", "30 % malicious", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["MTA (%)", "", "ASR (%)", ""]
    assert [len(axes.lines) for axes in figure.axes] == [2] * 4
    assert [len(axes.collections) for axes in figure.axes] == [2] * 4
    line = figure.axes[1].lines[1]
    assert line.get_xdata().tolist() == [0, 2, 4]
    assert line.get_ydata() == pytest.approx([55, 57, 59])
    assert line.get_color() == looks(["fedavg", "krum"])["krum"].color
    shaded = figure.axes[1].collections[1].get_paths()[0].vertices
    assert (shaded[:, 1].min(), shaded[:, 1].max()) == pytest.approx((50, 64))
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["fedavg", "krum"]
    said = title(figure)
    for words in (
        "data set digits",
        "model cnn",
        "20 clients",
        "10 of them a round",
        "3 clean warm-up rounds",
        "seed 0/1",
    ):
        assert words in said
    assert "malicious" not in said
    assert "mean over 2 seeds; shaded: lowest to highest seed" in said


def test_curves_of_one_seed_have_no_spread(store):
    figure, numbers = make(curves, fill(store, cells(defense=["fedavg"]), share), store)
    assert set(numbers["seeds"]) == {1}
    assert not figure.axes[0].collections
    assert "one seed a point, no spread" in title(figure)


def test_curves_say_what_is_missing(store):
    planned = cells(**GRID)
    fill(store, planned[:-1], share)
    store.put_failure(planned[-1], "broke", "traceback", {})
    figure, numbers = make(curves, planned, store)
    assert "1 of 8 cells are not done and left out" in title(figure)
    assert "mean over 1 to 2 seeds" in title(figure)
    absent = planned[-1]
    chosen = (numbers["malicious"] == absent.malicious) & (numbers["defense"] == str(absent.defense))
    assert set(numbers.loc[chosen, "seeds"]) == {1}


def test_figures_without_a_cell_that_is_done(store):
    planned = cells(**GRID)
    store.put_failure(planned[0], "broke", "traceback", {})
    with pytest.raises(UserError, match=r"none of the 8 cells of this figure is done in .*, 1 failed; run them first"):
        make(curves, planned, store)
    with pytest.raises(UserError, match="none of the 1 cells"):
        make(teachers, cells(defense=["clip-fed"], server_data=["glyphs"]), store)
    with pytest.raises(UserError, match="needs cells"):
        make(curves, [], store)


def test_an_undefined_asr_is_no_point(store):
    planned = fill(store, cells(seed=[0, 1]), share, lambda cell, r: math.nan if cell.seed else 0.25)
    numbers = make(curves, planned, store)[1]
    asr = numbers[numbers["metric"] == "asr"]
    assert asr["seeds"].tolist() == [1, 1, 1]
    assert asr["mean"].tolist() == [0.25] * 3


def test_another_setting_can_make_the_columns(store):
    planned = fill(store, cells(alpha=[0.5, 0.1], defense=["fedavg", "krum"]), share)
    figure, numbers = make(curves, planned, store)
    assert numbers["alpha"].drop_duplicates().tolist() == [0.1, 0.5]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["alpha 0.1", "alpha 0.5"]
    assert "malicious 20 %" in title(figure)
    assert "alpha" not in title(figure)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"malicious": [0.2, 0.3], "lr": [0.1, 0.2]}, r"differ in this: lr 0.1, 0.2\."),
        ({"attack": ["badnets", "dba"], "lr": [0.1, 0.2]}, "attack badnets, dba; lr 0.1, 0.2"),
        ({"defense": ["clip-fed"], "server_per_class": [5, 10]}, "server per class 5, 10"),
    ],
)
def test_curves_never_mix_settings(store, values, message):
    with pytest.raises(UserError, match=message):
        make(curves, fill(store, cells(**values), share), store)


def test_a_late_attack_is_marked(store):
    figure, _ = make(curves, fill(store, cells(attack_start=[2]), share), store)
    assert [line.get_xdata() for line in figure.axes[0].lines[1:]] == [[2, 2]]


TEACHERS = ["open_clip:ViT-B-32/openai", "open_clip:ViT-L-14/openai"]


def by_teacher(cell, round_=4):
    return 0.5 + 0.2 * TEACHERS.index(cell.teacher) + 0.05 * cell.seed


def test_teachers_are_means_and_ranges_over_seeds(store):
    planned = cells(defense=["clip-fed"], teacher=TEACHERS, attack=["badnets", "dba"], seed=[0, 1])
    facts = {t: {"teacher_zero_shot_accuracy": f"{0.8 + i / 10:.4f}"} for i, t in enumerate(TEACHERS)}
    fill(store, planned, by_teacher, lambda cell, r: by_teacher(cell) / 10, lambda cell: facts[cell.teacher])
    plain = fill(store, cells(defense=["fedavg"]), share)
    figure, numbers = make(teachers, [*plain, *planned], store)
    assert list(numbers.columns) == [
        *("dataset", "attack", "teacher", "name", "metric", "mean", "low", "high", "seeds")
    ]
    assert len(numbers) == 2 * 2 * 3
    found = numbers.set_index(["attack", "name", "metric"])[["mean", "low", "high", "seeds"]]
    assert found.loc[("dba", "ViT-L/14", "mta")].tolist() == pytest.approx([0.725, 0.70, 0.75, 2])
    assert found.loc[("badnets", "ViT-B/32", "asr")].tolist() == pytest.approx([0.0525, 0.05, 0.055, 2])
    assert found.loc[("dba", "ViT-L/14", "teacher_zero_shot_accuracy"), "mean"] == 0.9

    mta, asr = figure.axes
    assert [tick.get_text() for tick in mta.get_xticklabels()] == ["ViT-B/32", "ViT-L/14"]
    assert len(mta.containers) == len(asr.containers) == 2
    points = [container.lines[0] for container in mta.containers]
    assert points[1].get_ydata() == pytest.approx([52.5, 72.5])
    assert points[0].get_xdata() == pytest.approx([-0.15, 0.85])
    dashes = [path.vertices[0, 1] for path in mta.collections[-1].get_paths()]
    assert dashes == pytest.approx([80, 90])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["badnets", "dba"]
    assert asr.get_ylim()[0] == 0
    assert "MTA and ASR of clip-fed by teacher" in title(figure)
    assert "Dashes: the teacher alone, zero-shot on test images" in title(figure)
    assert "bars: lowest to highest seed" in title(figure)


def test_equal_seeds_are_drawn_and_a_local_teacher_shows_its_own_figure(store):
    planned = cells(defense=["clip-fed"], teacher=["local[width=8]"], seed=[0, 1, 2])
    fill(store, planned, lambda *_: 0.1, lambda *_: 0.7, lambda cell: {"teacher_held_out_accuracy": "0.9412"})
    figure, numbers = make(teachers, planned, store)  # the mean of three 0.1 is more than 0.1
    assert numbers["metric"].tolist() == ["mta", "asr", "teacher_held_out_accuracy"]
    assert numbers["mean"].tolist() == pytest.approx([0.1, 0.7, 0.9412])
    assert "held-out server images" in title(figure)


def test_teachers_refuse_what_they_cannot_compare(store):
    with pytest.raises(UserError, match="no cell's defense has one"):
        make(teachers, cells(defense=["fedavg"]), store)
    with pytest.raises(UserError, match="rounds 4, 5"):
        make(teachers, cells(defense=["clip-fed"], rounds=[4, 5]), store)


def test_names_of_teachers():
    known = {
        "open_clip:ViT-L-14/openai": "ViT-L/14",
        "open_clip:ViT-B-32-quickgelu/openai": "ViT-B/32-quickgelu",
        "open_clip:RN50/openai": "RN50",
        "local": "local",
        "local[width=8,image_size=32]": "local, width 8, image size 32",
    }
    assert text.teacher_labels(known) == known
    alike = ["open_clip:ViT-L-14/openai", "open_clip:ViT-L-14/laion2b", "open_clip:ViT-L-14@/some/where/mine.pt"]
    assert list(text.teacher_labels(alike).values()) == [
        *("ViT-L/14 (openai)", "ViT-L/14 (laion2b)", "ViT-L/14 (mine)")
    ]


def test_what_a_figure_says_of_its_cells():
    small = CellSpec(**SMALL, defense="clip-fed", **GLYPHS, attack_scale=2.0, poison_ratio=0.5, target=3)
    assert text.setup([small]) == (
        "data set digits · model cnn · partition dirichlet · alpha 0.5 · 20 clients · 10 of them a round · "
        "malicious 20 % · attack badnets · attack scale 2 · poison ratio 0.5 · target class 3 · "
        "3 clean warm-up rounds · 4 rounds · seed 0 · teacher local · server data glyphs · 5 server images a class"
    )
    papers = [
        CellSpec(partition="degree", defense=defense, server_data="holdout:30", server_per_class=None, seed=seed)
        for defense in ("fedavg", "clip-fed")
        for seed in (1, 0)
    ]
    assert text.setup(papers, without=("attack", "target")) == (
        "data set cifar10-lt · imbalance factor 10 · model resnet18 · partition degree · degree 0.4 · 100 clients · "
        "10 of them a round · malicious 20 % · poison ratio 1 · 0 clean warm-up rounds · 300 rounds · seed 0/1 · "
        "teacher open_clip:ViT-L-14/openai · "
        "server data holdout:30 (real images that no client holds, an upper bound for generated ones)"
    )


def test_titles_break_between_settings(store, tmp_path):
    figure, _ = make(curves, fill(store, cells(**GRID), share), store)
    lines = figure.get_suptitle().splitlines()
    assert len(lines) >= 4
    assert not any(line.startswith("·") or line.endswith("·") for line in lines)
    assert any("10 of them a round" in line for line in lines)
    with drawing():
        paths = save(figure, tmp_path / "out", "fig6", ("png",))
    assert paths[0].stat().st_size > 10_000
