"""Cells in words: what settings and their values are called wherever people read them.

A cell is a mapping from settings to values, a row of the results or :meth:`CellSpec.as_dict`, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from clipfed_bench.components import scheme
from clipfed_bench.components.registry import choose
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.values import show
from clipfed_bench.data.info import CLIP
from clipfed_bench.models.catalog import recipe

Cell = Mapping[str, Any]

USUAL = ("dataset", "partition", "alpha", "degree", "attack", "defense", "seed")
"""Settings that every label of a cell shows."""

SPEAKING = ("dataset", "partition", "attack", "attack_name", "defense", "defense_name", "model")
"""Settings whose values need no heading beside them."""

UPPER_BOUND = "real images that no client holds, an upper bound for generated ones"
"""What held-out server data are."""

_PHRASES = {
    "dataset": "data set {}",
    "min_samples": "at least {} images a client",
    "clients": "{} clients",
    "clients_per_round": "{} of them a round",
    "malicious_sampling": "malicious share of a round {}",
    "poison_rounding": "poisoned images of a batch rounded {}",
    "target": "target class {}",
    "warmup_rounds": "{} clean warm-up rounds",
    "rounds": "{} rounds",
    "attack_start": "attack from round {}",
    "attack_stop": "attack until round {}",
    "evaluate": "evaluated on {} images",
    "eval_every": "evaluated every {} rounds",
    "server_per_class": "{} server images a class",
}
_NEUTRAL = {
    "attack_start": 1,
    "attack_scale": 1.0,
    "poison_rounding": "stochastic",
    "evaluate": "test",
    "weight_decay": 0.0,
}
"""Values that say no more than that a feature is not in use; None for any other setting."""

_MODELS = {"resnet18": "ResNet-18", "cnn": "small CNN"}
_NAMES = {**_MODELS, CLIP: "CLIP ViT-L/14", "local": "local teacher", "lit": "LiT teacher"}

_SIZES = {
    "model": "{}",
    "clients": "{} clients",
    "warmup_rounds": "{} clean rounds first",
    "rounds": "{} rounds",
    "teacher": "{}",
    "server_per_class": "{} server images a class",
    "attack_scale": "malicious updates times {}",
}
"""Settings that make a run comparable with the paper's."""


def heading(name: str) -> str:
    """A setting's name as shown."""
    return name.removesuffix("_name").replace("_", " ")


def label(value: Any) -> str:
    """A setting's value as shown."""
    return "–" if value is None else show(value)


def titled(name: str, value: Any) -> str:
    """``badnets``, ``alpha 0.1``: text as it stands, all else with what it is."""
    return label(value) if isinstance(value, str) else f"{heading(name)} {label(value)}"


def spoken(name: str, value: Any) -> str:
    """``20 %``, ``holdout:30 (real images ...)``: a setting's value as a part of a sentence."""
    text = f"{100 * value:g} %" if name == "malicious" else show(value)
    return f"{text} ({UPPER_BOUND})" if name == "server_data" and text.startswith("holdout:") else text


def phrase(name: str, values: Iterable[Any]) -> str:
    """``20 clients``, ``lr 0.1/0.2``: a setting with all its values, as a part of a sentence."""
    return _PHRASES.get(name, f"{heading(name)} {{}}").format("/".join(spoken(name, value) for value in values))


def phrases(cells: Sequence[Cell], names: Iterable[str]) -> list[str]:
    """A phrase for each of the settings ``names`` that is in use in any of ``cells``, with all its values."""
    known = {name: distinct(cells, name) for name in names}
    used = {name: values for name, values in known.items() if values and values != [_NEUTRAL.get(name)]}
    return [phrase(name, v if isinstance(v[0], str) else sorted(v)) for name, v in used.items()]


def distinct(cells: Iterable[Cell], name: str) -> list[Any]:
    """The values of a setting, each once, in the order in which they come, without None."""
    return list(dict.fromkeys(value for cell in cells if (value := cell[name]) is not None))


def listed(cells: Iterable[Cell], name: str) -> str:
    """The same in one text, ``0.1/0.5``."""
    return "/".join(map(label, distinct(cells, name)))


def partition(spec: CellSpec) -> str:
    """``α=0.5``, ``q=0.4``, ``iid`` or ``shards[per_client=3]``."""
    return scheme.spoken(str(spec.partition), vars(spec))


def in_brief(spec: CellSpec, also: Sequence[str] = ()) -> str:
    """A cell in a line of progress; ``also`` names settings to be said besides the usual ones."""
    more = "".join(f" {name}={show(getattr(spec, name))}" for name in also)
    return f"{spec.dataset} {partition(spec)} {spec.attack} {spec.defense}{more} seed {spec.seed}"


def shared_work(stage: str, spec: CellSpec) -> str:
    """What is computed for several cells alike ``spec``: ``data``, ``teacher``, ``warmup`` or ``prefix``."""
    return {
        "data": f"data {spec.dataset}",
        "teacher": f"teacher {spec.teacher} for {spec.dataset}",
        "warmup": f"warm-up {spec.dataset} {partition(spec)} seed {spec.seed}",
        "prefix": f"prefix {spec.dataset} {partition(spec)} {spec.defense} seed {spec.seed}",
    }[stage]


def telling(cells: Sequence[CellSpec]) -> list[str]:
    """Settings in which cells differ that are alike in the usual ones, so that labels need them."""
    groups: dict[tuple[object, ...], list[CellSpec]] = {}
    for cell in cells:
        groups.setdefault(tuple(getattr(cell, name) for name in USUAL), []).append(cell)
    names = (f.name for f in fields(CellSpec) if f.name not in USUAL)
    return [name for name in names if any(len({getattr(c, name) for c in group}) > 1 for group in groups.values())]


def keyed(spec: CellSpec) -> str:
    """A cell in messages on its files."""
    return f"cell {spec.key} ({spec.attack}, {spec.defense}, {spec.rounds} rounds, seed {spec.seed})"


def failed(cell: Cell) -> str:
    """``badnets, krum, alpha 0.5, seed 1``: a cell in a list of those that failed."""
    names = [name for name in ("attack", "defense", "alpha", "degree", "seed") if cell[name] is not None]
    return ", ".join(str(cell[n]) if n in ("attack", "defense") else f"{n} {cell[n]:g}" for n in names)


def scale(cells: Sequence[Cell]) -> str:
    """``small CNN, 100 clients (10 a round, 20 % malicious), 60 clean and 10 attacked rounds, teacher local, ...``."""
    clean, rounds = listed(cells, "warmup_rounds"), listed(cells, "rounds")
    shares = "/".join(f"{100 * share:g}" for share in distinct(cells, "malicious"))
    rest = (phrase(name, found) for name in ("degree", "teacher", "server_data") if (found := distinct(cells, name)))
    return ", ".join([
        "/".join(_NAMES.get(model, model) for model in distinct(cells, "model")),
        f"{listed(cells, 'clients')} clients ({listed(cells, 'clients_per_round')} a round, {shares} % malicious)",
        f"{rounds} rounds" if clean == "0" else f"{clean} clean and {rounds} attacked rounds",
        *rest,
    ])  # fmt: skip


def beside_paper(cells: Sequence[Cell]) -> list[str]:
    """``small CNN (ResNet-18)``, ``40 clients (100)``: what is other than in the paper, where that is in brackets."""
    theirs: dict[str, Any] = {f.name: f.default for f in fields(CellSpec)}
    theirs |= {"teacher": CLIP, "warmup_rounds": recipe(choose("model", str(CellSpec.model)))["warmup_rounds"]}
    phrases = []
    for name, template in _SIZES.items():
        ours, paper = distinct(cells, name), theirs[name]
        if any(value != paper for value in ours):
            text = "/".join(_NAMES.get(value, show(value)) for value in ours)
            phrases.append(f"{template.format(text)} ({_NAMES.get(paper, show(paper or 'none'))})")
    return phrases
