"""Axes from options, TOML and presets, and the cells they span."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipfed_bench.cli.options import choose_axes
from clipfed_bench.components.registry import attacks, defenses
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.grid import (
    choose_base,
    expand,
    load_preset,
    load_toml,
    make_grid,
    parse_texts,
    parse_toml,
    preset_names,
    seed_range,
)
from clipfed_bench.core.errors import UserError

ROOT = Path(__file__).parents[2]


def toml(text):
    return parse_toml(text, "grid.toml", "grid")


def test_no_axes_is_one_default_cell():
    assert expand({}) == (CellSpec(),)


def test_product_has_every_combination_once_seeds_fastest():
    cells = expand({"seed": [0, 1], "alpha": [0.1, 0.5], "attack": ["badnets", "dba"]})
    assert [(c.alpha, str(c.attack), c.seed) for c in cells] == [
        (a, t, s) for a in (0.1, 0.5) for t in ("badnets", "dba") for s in (0, 1)
    ]
    assert len({c.key for c in cells}) == 8


def test_combinations_that_are_the_same_cell_are_one():
    cells = expand({"partition": ["iid", "dirichlet"], "alpha": [0.1, 0.5]})
    assert [(str(c.partition), c.alpha) for c in cells] == [("iid", None), ("dirichlet", 0.1), ("dirichlet", 0.5)]
    assert len(expand({"attack": ["badnets", "badnets[size=5]"]})) == 1


def test_bad_values_and_unknown_settings_are_errors():
    with pytest.raises(UserError, match=r"unknown setting 'alfa'. Did you mean 'alpha'"):
        expand({"alfa": [1]})
    with pytest.raises(UserError, match=r"Did you mean 'badnets'"):
        expand({"attack": ["badnet"]})


def test_texts_are_lists_that_respect_brackets():
    parsed = parse_texts({"alpha": "0.1, 0.5", "attack": "badnets[size=3,value=0.5],dba", "attack_stop": "none,7"})
    assert parsed == {"alpha": [0.1, 0.5], "attack": ["badnets[size=3,value=0.5]", "dba"], "attack_stop": [None, 7]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("alpha", "0.1,x", "alpha: 'x' is not a number"),
        ("rounds", "1.5", "rounds: '1.5' is not a whole number"),
        ("alpha", "0.1,,0.5", "alpha: empty item"),
        ("attack", "badnets[size=3", "attack: brackets do not match"),
        ("alpha", "nan", "alpha: 'nan' is not a number"),
    ],
)
def test_bad_texts_name_the_option_and_what_would_be_right(name, text, message):
    with pytest.raises(UserError, match="^" + message.replace("(", r"\(")):
        parse_texts({name: text})


def test_toml_takes_scalars_lists_dashes_and_seeds():
    axes = toml('name = "mine"\nalpha = [0.1, 1]\nclients-per-round = 5\nattack = "badnets[size=3]"\nseeds = 2')
    assert axes.name == "mine"
    assert axes.values == {"alpha": [0.1, 1.0], "clients_per_round": [5], "attack": ["badnets[size=3]"], "seed": [0, 1]}
    grid = make_grid(axes)
    assert len(grid.cells) == 4
    assert {c.clients_per_round for c in grid.cells} == {5}


def test_toml_values_that_mean_nothing_there_are_none():
    assert toml('server_per_class = "none"').values == {"server_per_class": [None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpah = 1", "grid.toml: unknown key 'alpah'. Did you mean 'alpha'"),
        ("[cell]\nalpha = 1", "grid.toml: unknown key 'cell'"),
        ("alpha = [[1]]", r"grid.toml: alpha: '\[1\]' is not one value"),
        ("alpha = {a = 1}", "is not one value"),
        ("alpha = []", "alpha: the list is empty"),
        ("alpha = true", "alpha: 'True' is not a number"),
        ("dataset = 3", "dataset: '3' is not text"),
        ("rounds = 2.5", "rounds: '2.5' is not a whole number"),
        ("rounds = 2026-01-01", "rounds: '2026-01-01' is not one value"),
        ("seeds = 0", "seeds: 0 is not a number of seeds"),
        ("seeds = [1, 2]", "seeds: .* is not a whole number"),
        ("seeds = 2\nseed = 1", "seed and seeds are both given"),
        ("seed = 1\nseeds = 2", "seed and seeds are both given"),
        ("local-epochs = 1\nlocal_epochs = 2", "local_epochs: given twice"),
        ('name = "../up"', "name: '../up' cannot name a run folder"),
        ('name = "a/b"', "cannot name a run folder"),
        ('name = ""', "cannot name a run folder"),
        ("name = 3", "name: '3' is not text"),
        ("grid = 3", r"grid: not a list of tables; write \[\[grid\]\]"),
        ("[grid]\nalpha = 1", "grid: not a list of tables"),
        ('[[grid]]\nname = "a"', "unknown key 'name'"),
        ("[[grid]]\n[[grid.grid]]", "unknown key 'grid'"),
        ("[[grid]]\nalpah = 1", "unknown key 'alpah'. Did you mean 'alpha'"),
        ("alpha = 1\n[[grid]]\nrounds = 2\n[[grid]]\nalpha = 2", r"alpha: given above the tables \[\[grid\]\] and in"),
        ("seed = 1\n[[grid]]\nseeds = 2", "seed: given above"),
        ("[[grid]]\nseeds = 2\nseed = 1", "seed and seeds are both given"),
        ("alpha = 0.1\nrounds == 3", r"grid.toml: not valid TOML: .*line 2, column \d+"),
        ("alpha = 1\nalpha = 2", "not valid TOML"),
    ],
)
def test_toml_mistakes_are_explained(text, message):
    with pytest.raises(UserError, match=message):
        toml(text)


UNION = """
rounds = 7
seeds = 2
[[grid]]
attack = ["badnets", "dba"]
[[grid]]
defense = ["fedavg", "krum"]
alpha = [0.5, 0.1]
"""


def test_tables_are_products_of_which_the_grid_is_the_union():
    cells = make_grid(toml(UNION)).cells
    assert [(str(c.attack), str(c.defense), c.alpha, c.seed) for c in cells] == [
        *(("badnets", "fedavg", 0.5, 0), ("badnets", "fedavg", 0.5, 1)),
        *(("dba", "fedavg", 0.5, 0), ("dba", "fedavg", 0.5, 1)),
        # badnets against fedavg at alpha 0.5 is there already
        *(("badnets", "krum", 0.5, 0), ("badnets", "krum", 0.5, 1)),
        *(("badnets", d, 0.1, s) for d in ("fedavg", "krum") for s in (0, 1)),
    ]
    assert {c.rounds for c in cells} == {7}


def test_options_replace_a_setting_in_every_product(tmp_path):
    path = tmp_path / "g.toml"
    path.write_text(UNION)
    cells = make_grid(choose_axes({"attack": "blend", "seed": "0"}, config=path)).cells
    assert [(str(c.attack), str(c.defense), c.alpha) for c in cells] == [
        ("blend", "fedavg", 0.5),
        ("blend", "krum", 0.5),
        ("blend", "fedavg", 0.1),
        ("blend", "krum", 0.1),
    ]


def test_a_star_is_every_registered_attack_or_defense():
    assert [str(c.attack) for c in expand({"attack": ["*"]})] == list(attacks())
    assert [str(c.defense) for c in make_grid(toml('defense = "*"')).cells] == list(defenses())
    names = [str(c.attack) for c in expand({"attack": ["dba", "*", "badnets[size=3]"]})]
    assert names[0] == "dba"
    assert sorted(names) == sorted([*attacks(), "badnets[size=3]"])
    with pytest.raises(UserError, match=r"unknown data set '\*'|unknown dataset '\*'"):
        expand({"dataset": ["*"]})


def test_toml_files(tmp_path):
    path = tmp_path / "my grid.toml"
    path.write_text("rounds = 3")
    assert load_toml(path).name == "my-grid"
    with pytest.raises(UserError, match="there is no such file"):
        load_toml(tmp_path / "absent.toml")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as text"):
        load_toml(path)
    with pytest.raises(UserError, match="cannot be read as text"):
        load_toml(tmp_path)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_spans_cells(name):
    grid = make_grid(load_preset(name))
    assert grid.name == name
    assert grid.description
    assert grid.cells


def test_seed_range():
    assert seed_range(3) == [0, 1, 2]
    with pytest.raises(UserError, match="1 or more"):
        seed_range(-1)


# --- precedence --------------------------------------------------------------------------------------------------


def test_options_override_presets_and_files(tmp_path):
    base = load_preset("smoke")
    axes = choose_axes({"attack": "blend", "alpha": None}, preset="smoke", seeds=2)
    assert axes.values == {**base.values, "attack": ["blend"], "seed": [0, 1]}
    path = tmp_path / "g.toml"
    path.write_text("seeds = 3\nrounds = 7")
    assert choose_axes({"seed": "5"}, config=path).values == {"seed": [5], "rounds": [7]}


def test_sources_that_exclude_each_other(tmp_path):
    with pytest.raises(UserError, match="--preset and --config"):
        choose_axes({}, preset="smoke", config=tmp_path)
    with pytest.raises(UserError, match="--seed and --seeds"):
        choose_axes({"seed": "1"}, seeds=2)
    with pytest.raises(UserError, match=r"^--local-epochs: 'x' is not a whole number"):
        choose_axes({"local_epochs": "x"})
    with pytest.raises(UserError, match=r"^--seeds: 0 is not a number"):
        choose_axes({}, seeds=0)
    with pytest.raises(UserError, match=r"unknown preset 'smok'. Did you mean 'smoke'"):
        choose_axes({}, preset="smok")


SCALED = 'rounds = [1, 2]\nattack = "dba"\n[scale.small]\nrounds = 1\nseeds = 2\n[scale.tiny]\nmodel = "cnn"'


def test_a_scale_takes_the_place_of_what_it_names_and_names_the_grid():
    small = toml(SCALED).at("small")
    assert small.name == "grid-small"
    assert small.values == {"rounds": [1], "attack": ["dba"], "seed": [0, 1]}
    assert toml(SCALED).at("tiny").values == {"rounds": [1, 2], "attack": ["dba"], "model": ["cnn"]}
    assert toml(SCALED).values == {"rounds": [1, 2], "attack": ["dba"]}


def test_options_stand_above_a_scale():
    axes = choose_axes({"rounds": "7"}, preset="paper-table3", scale="cpu")
    assert axes.values["rounds"] == [7]
    assert axes.values["malicious"] == [0.2, 0.3, 0.4]
    assert axes.values["model"] == ["cnn"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scale.small]\nround = 1", "unknown key 'round'. Did you mean 'rounds'"),
        ("[scale.small]\nseeds = 1\nseed = 0", "seed and seeds"),
        ("scale = 3", r"write a table for each scale, \[scale.NAME\]"),
        ("[scale.small]\nname = 'x'", "unknown key 'name'"),
        ("[scale.'../up']\nrounds = 1", "cannot name a run folder"),
        ("base = 'papre'", "unknown preset 'papre'. Did you mean 'paper'"),
    ],
)
def test_bad_scales_and_bases(text, message):
    with pytest.raises(UserError, match=message):
        toml(text)


def test_scales_that_are_not_there():
    with pytest.raises(UserError, match=r"unknown scale 'smal'\. Did you mean 'small'"):
        toml(SCALED).at("smal")
    with pytest.raises(UserError, match="grid has no scales"):
        toml("rounds = 1").at("small")


def test_a_grid_on_a_base_changes_what_it_says_and_no_more():
    base = toml("rounds = 3\nattack = 'dba'\n[scale.s]\nmodel = 'cnn'\nrounds = 1")
    own = toml("attack = 'blend'\n[scale.s]\nrounds = 2").on(base)
    assert own.values == {"rounds": [3], "attack": ["blend"]}
    assert own.at("s").values == {"rounds": [2], "attack": ["blend"], "model": ["cnn"]}


@pytest.mark.parametrize("name", ["alignins", "flame"])
@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_the_tables_of_other_papers_are_grids(name, scale):
    cells = make_grid(choose_base(None, ROOT / "docs" / "examples" / f"{name}.toml", scale)).cells
    assert {cell.model.name for cell in cells} == {"cnn" if scale == "cpu" else "resnet18"}
    assert name in {cell.defense.name for cell in cells}
