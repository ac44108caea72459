"""What makes two cells the same, and which values are refused."""

from __future__ import annotations

import contextlib
import pickle
import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipfed_bench.components.registry import choose
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.values import convert, parse_choice, show, split_list


def key(**settings: Any) -> str:
    return CellSpec(**settings).key


def test_equal_cells_have_equal_keys_however_they_are_written() -> None:
    assert key(attack="badnets") == key(attack="badnets[size=5]") == key(attack="badnets[col=27,size=5]")
    assert key(attack="badnets[size=3,value=0.5]") == key(attack="badnets[value=.5,size=3]")
    assert str(CellSpec(attack="badnets[value=1,size=3]").attack) == "badnets[size=3]"
    assert key(alpha=1) == key(alpha=1.0)


def test_attack_and_defense_are_parsed_once() -> None:
    spec = CellSpec(attack="frequency[magnitude=40]", defense="flame[noise=0.5]")
    again = replace(pickle.loads(pickle.dumps(spec)), seed=0)
    assert again == spec
    assert hash(again) == hash(spec)
    assert CellSpec(attack=spec.attack, defense=choose("defense", "flame", noise=0.5)) == spec
    assert (spec.attack.name, spec.attack.options["magnitude"]) == ("frequency", 40)
    assert spec.as_dict()["attack"] == "frequency[magnitude=40]"
    with pytest.raises(UserError, match="attack: '3' is not text"):
        CellSpec(attack=3)


def test_keys_are_made_once_and_of_the_settings_that_a_cell_has() -> None:
    """A grid asks each of its cells a dozen times."""
    spec = CellSpec(attack_start=3)
    assert (spec.key is spec.key, spec.warmup_key is spec.warmup_key) == (True, True)
    other = replace(spec, seed=1)
    assert {other.key, other.warmup_key, other.prefix_key}.isdisjoint({spec.key, spec.warmup_key, spec.prefix_key})


def test_what_has_no_effect_is_not_in_the_key() -> None:
    assert key(teacher="local") == key(templates="openai-cifar") == key(server_per_class=5) == key()  # FedAvg
    assert key(partition="iid", alpha=0.1) == key(partition="iid", alpha=0.9, degree=0.2)
    assert key(defense="clip-fed", teacher="local") != key(defense="clip-fed")


def test_held_out_server_images_matter_to_every_defense() -> None:
    assert key(server_data="holdout:10") != key()
    assert key(server_data="cifar10-generated") == key()
    assert CellSpec(server_data="holdout:10").warmup_key != CellSpec().warmup_key


@pytest.mark.parametrize("name", [f.name for f in fields(CellSpec)])
def test_every_setting_is_in_the_key_and_that_of_a_prefix_unless_it_matters_later(name: str) -> None:
    other: dict[str, Any] = {
        "dataset": "cifar10", "imbalance_factor": 50, "partition": "iid", "alpha": 0.1, "min_samples": 11,
        "clients": 90, "clients_per_round": 9, "malicious": 0.3, "malicious_sampling": "random", "attack": "dba",
        "target": 1, "poison_ratio": 0.5, "attack_start": 2, "attack_stop": 9, "attack_scale": 2, "model": "cnn",
        "defense": "clip-fed[tau=0.5]", "warmup_rounds": 1, "rounds": 10, "local_epochs": 1, "batch_size": 8,
        "lr": 0.2, "momentum": 0.5, "weight_decay": 0.1, "teacher": "local", "templates": "openai-cifar",
        "server_data": "holdout:5", "server_per_class": 7, "eval_every": 1, "seed": 1,
        "update_dtype": "bfloat16", "poison_rounding": "down", "evaluate": "validation",
    }  # fmt: skip
    base: dict[str, Any] = {"defense": "clip-fed", "attack_start": 3}
    if name == "degree":
        base |= {"partition": "degree"}
        other["degree"] = 0.2
    one, changed = CellSpec(**base), CellSpec(**base | {name: other[name]})
    assert changed.key != one.key
    later = ("attack", "target", "poison_ratio", "poison_rounding", "attack_stop", "attack_scale", "rounds")
    assert (changed.prefix_key == one.prefix_key) == (name in later)


def test_warmups_are_shared_by_attacks_defenses_and_targets_alone() -> None:
    base = CellSpec(warmup_rounds=3)
    same = {"attack": "dba", "defense": "krum", "target": 1, "poison_ratio": 0.5, "attack_scale": 2.0, "rounds": 5}
    assert CellSpec(warmup_rounds=3, **same).warmup_key == base.warmup_key
    for name, value in {"alpha": 0.1, "seed": 1, "lr": 0.2, "clients": 50, "warmup_rounds": 4}.items():
        assert CellSpec(**{"warmup_rounds": 3, name: value}).warmup_key != base.warmup_key


def test_rounds_before_the_attack_are_shared_by_cells_that_differ_in_what_comes_later_alone() -> None:
    base: dict[str, Any] = {"attack_start": 11, "rounds": 50, "defense": "flame"}
    for later in (
        {"attack": "dba", "target": 1, "poison_ratio": 0.5, "attack_scale": 2.0},
        {"attack_stop": 40, "rounds": 60},
        {"defense": f"flame[noise={choose('defense', 'flame').options['noise']}]"},
    ):
        assert CellSpec(**base | later).prefix_key == CellSpec(**base).prefix_key
    for other in ("flame[noise=0.5]", "fedavg"):
        assert CellSpec(**base | {"defense": other}).prefix_key != CellSpec(**base).prefix_key
    starts = [CellSpec(attack_start=start, rounds=5, attack="none").prefix_rounds for start in (1, 4, 9)]
    assert starts == [0, 3, 4], "the last round is never shared"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0}, "alpha: 0 is out of range; it must be from 0.001 to 1e+09"),
        ({"alpha": None}, "alpha: the partition dirichlet needs a value"),
        ({"malicious": 1.2}, "malicious: 1.2 is out of range; it must be from 0 to 1"),
        ({"rounds": "many"}, "rounds: 'many' is not a whole number"),
        ({"rounds": 2.5}, "rounds: '2.5' is not a whole number"),
        ({"lr": float("nan")}, "lr: 'nan' is not a number"),
        ({"clients": 5}, "clients_per_round: 10 is more than the 5 clients"),
        ({"target": 10}, "target: 10 is not a class of cifar10-lt; it goes from 0 to 9"),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'. Did you mean"),
        ({"model": "resnet-18"}, "unknown model 'resnet-18'. Did you mean 'resnet18'"),
        ({"defense": "flames"}, "unknown defense 'flames'. Did you mean 'flame'"),
        ({"defense": "flame[noize=1]"}, "unknown option of defense flame 'noize'. Did you mean 'noise'"),
        ({"defense": "median[x=1]"}, "defense 'median' has no options"),
        ({"attack": "badnets[size=big]"}, r"badnets[size]: 'big' is not a whole number"),
        ({"attack": "frequency[variant=dct]"}, r"frequency[variant]: 'dct' is not one of ftrojan, amplitude"),
        ({"attack": "badnets[size"}, "is not a name with options"),
        ({"attack": "badnets[size=1,size=2]"}, "option 'size' is given twice"),
        ({"clients": 3000}, "clients: 3,000 of them with min_samples 10 need 30,000 images, but cifar10-lt has 20,431"),
        (
            {"partition": "degree", "clients": 9, "clients_per_round": 3},
            "degree: 9 clients for 10 classes; each",
        ),
        ({"imbalance_factor": 5001}, "imbalance factor 5001 leaves the smallest class without an image; at most 5000"),
        ({"server_data": "holdout:many"}, "'many' is no number of images per class; write e.g. holdout:100"),
        ({"server_data": "holdout:5000"}, "at most holdout:4999 is possible"),
        ({"server_data": "glyphs", "defense": "clip-fed"}, "'glyphs' shows digits; cifar10-lt needs e.g. cifar10-gen"),
        ({"server_data": "cifar100-generated", "defense": "clip-fed"}, "has other classes than cifar10"),
        ({"attack_start": 5, "attack_stop": 4}, "attack_stop: 4 is before attack_start 5"),
        ({"attack_start": 301}, "attack_start: 301 is after the last of 300 rounds, and attack badnets would not take"),
        (
            {"malicious": 0.004},
            "malicious: 0.004 of 100 clients is nobody, and attack badnets needs an attacker; 0",
        ),
        ({"malicious": 0}, "malicious: 0 of 100 clients is nobody"),
        ({"attack_scale": 0}, "attack_scale: 0 leaves nothing of malicious updates; it must be above 0"),
        ({"poison_ratio": 0}, "poison_ratio: 0 poisons nothing; it must be above 0, and for a clean run there is"),
        ({"poison_ratio": 0.015, "poison_rounding": "down"}, "rounded down, poisons nothing; at least 0.015625 is"),
        ({"poison_rounding": "up"}, "unknown poison rounding 'up'. Known: down, stochastic"),
        ({"dataset": "cifar10", "imbalance_factor": 10}, "cifar10"),
        ({"partition": "dirichlett"}, "unknown partition 'dirichlett'. Did you mean 'dirichlet'"),
        ({"defense": "clip-fed", "teacher": "clip:x"}, "clip:x"),
    ],
)
def test_impossible_settings_say_what_would_be_right(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        CellSpec(**settings)


def test_origins_of_defaults() -> None:
    origins = CellSpec(lr=0.2).defaults()
    assert "lr" not in origins
    assert origins["clients"] == "paper"
    assert origins["batch_size"] == "lineage"
    assert {f.metadata["origin"] for f in fields(CellSpec)} == {"paper", "lineage", "ours"}


def test_lists_split_outside_brackets() -> None:
    assert split_list("krum, clip-fed[beta=2,tau=1],x[p=((1,2),(3,4))]") == [
        "krum",
        "clip-fed[beta=2,tau=1]",
        "x[p=((1,2),(3,4))]",
    ]
    for wrong in ("a,,b", "a[b", "a]b[", ""):
        with pytest.raises(UserError):
            split_list(wrong)


def test_choices_parse() -> None:
    assert parse_choice("frequency[positions=((31,31),(15,15)),magnitude=40]") == (
        "frequency",
        {"positions": "((31,31),(15,15))", "magnitude": "40"},
    )


WHOLE = st.integers(-(2**63) + 1, 2**63 - 1)


@given(
    st.one_of(
        st.tuples(st.just("float"), st.floats(allow_nan=False, allow_infinity=False)),
        st.tuples(st.just("int"), WHOLE),
        st.tuples(st.just("bool"), st.booleans()),
        st.tuples(st.just("float | None"), st.none()),
        st.tuples(st.just("tuple[tuple[int, int], ...]"), st.lists(st.tuples(WHOLE, WHOLE)).map(tuple)),
    )
)
def test_what_is_shown_reads_back(case: tuple[str, Any]) -> None:
    annotation, value = case
    back = convert(show(value), annotation, "x")
    assert back == value
    assert type(back) is type(value)


@given(st.text(), st.sampled_from(["int", "float", "bool", "float | None", "tuple[int, ...]", 'Literal["a", "b"]']))
def test_any_text_converts_or_is_refused_politely(text: str, annotation: str) -> None:
    with contextlib.suppress(UserError):  # anything else that is raised fails the test
        convert(text, annotation, "x")
