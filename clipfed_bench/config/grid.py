"""Which cells to run: axes of values, from presets, TOML files and options, multiplied out.

A TOML file has the fields of :class:`~clipfed_bench.config.cell_spec.CellSpec` as keys (``-`` and ``_`` are the same),
each with one value or a list of them, and ``name``, ``description`` and ``seeds = 3`` (short for ``seed = [0, 1, 2]``).
What is not there has CellSpec's default. ``attack = "*"`` and ``defense = "*"`` are every registered one with its
defaults. ``base = "paper"`` starts from that preset.

A grid that is no single product is written as several tables ``[[grid]]``: each has keys of its own beside those above
all tables, and the grid is the union of their products. A key stands above the tables or in them, not in both.

A table ``[scale.NAME]`` holds values that take the place of those above when that scale is asked for: the same grid,
made small enough for another machine. What ``[[grid]]`` tables say stays.

Nothing here imports torch.
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from clipfed_bench.components import registry
from clipfed_bench.config.cell_spec import CellSpec, value_type
from clipfed_bench.core.errors import UserError, shown, unknown
from clipfed_bench.core.files import read_text
from clipfed_bench.core.values import convert, split_list
from clipfed_bench.data import catalog

FIELDS = {f.name: f for f in fields(CellSpec)}
_SCALARS = (str, int, float, bool)
_LARGEST_FILE = 1_000_000
_LONGEST_NAME = 100
WHOLE = "whole"
"""The preset of the grid that is run when nothing else is asked for."""
PAPER = "paper"
"""The scale of the paper."""
_MOST = 100_000
"""Cells of a grid: more are a mistake, and would fill the memory before anybody sees it."""
_EVERY = {"attack": registry.attacks, "defense": registry.defenses}


@dataclass(frozen=True)
class Axes:
    """The values that each field of a cell takes; fields that are absent keep their default."""

    name: str = "grid"
    description: str = ""
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    grids: tuple[Mapping[str, Sequence[Any]], ...] = ()
    """What each of several products has beside ``values``; none: ``values`` span the only one."""
    scales: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    """Name of a scale -> the fields that differ at it."""

    def override(self, values: Mapping[str, Sequence[Any]]) -> Axes:
        """These axes with the fields of ``values`` replaced, in each product."""
        grids = tuple({name: items for name, items in grid.items() if name not in values} for grid in self.grids)
        return replace(self, values={**self.values, **values}, grids=grids)

    def at(self, scale: str) -> Axes:
        """These axes at one of their scales, which becomes part of the name. Raises UserError.

        The scale ``paper`` is how they are without any, unless they say otherwise.
        """
        if scale == PAPER and self.scales and PAPER not in self.scales:
            return self
        if not self.scales:
            raise UserError(f"scale: {self.name} has no scales; leave '{scale}' out.")
        if scale not in self.scales:
            raise unknown("scale", scale, self.scales)
        values = {**self.values, **self.scales[scale]}
        return replace(self, name=f"{self.name}-{scale}", values=values, scales={})

    def on(self, base: Axes) -> Axes:
        """These axes where they say something, ``base`` where they do not; so it is for each scale."""
        scales = {
            name: {**base.scales.get(name, {}), **self.scales.get(name, {})} for name in {**base.scales, **self.scales}
        }
        return replace(self, values={**base.values, **self.values}, grids=self.grids or base.grids, scales=scales)


@dataclass(frozen=True)
class GridSpec:
    """A named list of cells, without duplicates."""

    name: str
    description: str
    cells: tuple[CellSpec, ...]


def make_grid(axes: Axes) -> GridSpec:
    """The grid that ``axes`` span. Raises UserError for values that no cell can have."""
    spans = [{**axes.values, **grid} for grid in axes.grids or ({},)]
    _check_size(spans)
    cells = {cell.key: cell for cell in _alike([cell for span in spans for cell in expand(span)])}
    return GridSpec(check_name(_told_apart(axes.name, cells.values())), axes.description, tuple(cells.values()))


def _alike(cells: Sequence[CellSpec]) -> list[CellSpec]:
    """``cells``, where a data set's default server images are held out of its training images: out of everybody's.

    A defense without server data would else have other clients than those that it is compared with.
    """
    usual = {cell.dataset: catalog.info(cell.dataset).server_data for cell in cells}
    held = {cell.dataset: usual[cell.dataset] for cell in cells if cell.server_data == usual[cell.dataset]}
    held = {name: text for name, text in held.items() if text and text.startswith("holdout:")}
    return [
        replace(cell, server_data=held[cell.dataset]) if cell.server_data is None and cell.dataset in held else cell
        for cell in cells
    ]


def expand(values: Mapping[str, Sequence[Any]]) -> tuple[CellSpec, ...]:
    """Every combination of ``values`` once, in the order of CellSpec's fields, seeds changing fastest.

    The attack or defense ``*`` stands for every registered one. Combinations that come to the same cell (alpha with an
    IID partition) are one. Raises UserError.
    """
    for name in values:
        if name not in FIELDS:
            raise unknown("setting", name, FIELDS)
    _check_size([values])
    names = [name for name in FIELDS if name in values]
    rows = itertools.product(*(_every(name, values[name]) for name in names))
    cells = (CellSpec(**dict(zip(names, row, strict=True))) for row in rows)
    return tuple({cell.key: cell for cell in cells}.values())


def parse_texts(texts: Mapping[str, str]) -> dict[str, list[Any]]:
    """Values as typed on a command line, ``{"alpha": "0.1,0.5"}`` -> ``{"alpha": [0.1, 0.5]}``. Raises UserError."""
    return {name: [_check(name, item) for item in _split(name, text)] for name, text in texts.items()}


def parse_values(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values as in a TOML file, each alone or in a list, and ``seeds``. Raises UserError."""
    return _values(_plain(values, ()))


def seed_range(count: Any) -> list[int]:
    """``3`` -> ``[0, 1, 2]``. Raises UserError."""
    number = convert(count, "int", "seeds")
    if not 1 <= number <= _MOST:
        raise UserError(f"seeds: {number} is not a number of seeds; write 1 or more, up to {_MOST:,}.")
    return list(range(number))


def check_name(name: str) -> str:
    """``name`` if it can name a run folder. Raises UserError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or len(name) > _LONGEST_NAME:
        raise UserError(
            f"name: '{shown(name)}' cannot name a run folder; use up to {_LONGEST_NAME} letters, digits, '.', '_' and "
            "'-', the first a letter or digit."
        )
    return name


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(p.name.removesuffix(".toml") for p in _presets().iterdir() if p.name.endswith(".toml"))


def load_preset(name: str) -> Axes:
    """A preset that comes with the package. Raises UserError."""
    if name not in preset_names():
        raise unknown("preset", name, preset_names())
    return parse_toml((_presets() / f"{name}.toml").read_text(encoding="utf-8"), f"preset {name}", name)


def load_toml(path: Path) -> Axes:
    """A user's grid. Without a ``name`` it is called by the file's name. Raises UserError."""
    text = read_text(path, _LARGEST_FILE, shown(path))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:_LONGEST_NAME] or "grid"
    return parse_toml(text, shown(path), name)


def choose_base(preset: str | None, config: Path | None, scale: str | None) -> Axes:
    """A preset or a file, at a scale if any; with neither, the whole grid at that scale, or else a cell's defaults.

    Raises UserError.
    """
    if preset is not None and config is not None:
        raise UserError("--preset and --config are both given; a grid starts from one of them.")
    # An empty name is a mistake too (an unset variable of the shell): it must not start the default grid.
    if preset is not None:
        base = load_preset(preset)
    elif config is not None:
        base = load_toml(config)
    else:
        base = load_preset(WHOLE) if scale is not None else Axes()
    return base.at(scale) if scale is not None else base


def parse_toml(text: str, source: str, name: str) -> Axes:
    """TOML ``text`` as axes; ``source`` is what errors call it, ``name`` is used if it has none. Raises UserError."""
    try:
        return _axes(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source}: not valid TOML: {error}.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{source}: it holds a number of thousands of digits, or is nested too deeply.") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _axes(toml: Mapping[str, Any], name: str) -> Axes:
    tables, scales = toml.get("grid", []), toml.get("scale", {})
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError("grid: not a list of tables; write [[grid]] above the keys of each product.")
    if not isinstance(scales, dict) or not all(isinstance(scale, dict) for scale in scales.values()):
        raise UserError("scale: write a table for each scale, [scale.NAME], with the values that differ at it.")
    plain = {key: value for key, value in toml.items() if key not in ("grid", "scale")}
    table = _plain(plain, ("name", "description", "base", "grid", "scale"))
    name = check_name(convert(table.pop("name", name), "str", "name"))
    description = table.pop("description", "")
    if isinstance(description, str):
        description = " ".join(description.split())
    description = convert(description, "str", "description")
    base = table.pop("base", None)
    values = _values(table)
    grids = tuple(_values(_plain(table, ())) for table in tables)
    twice = next((key for key in values if any(key in grid for grid in grids)), None)
    if twice is not None:
        raise UserError(f"{twice}: given above the tables [[grid]] and in one of them; write it in one place.")
    shrunk = {check_name(scale): _values(_plain(changes, ())) for scale, changes in scales.items()}
    axes = Axes(name, description, values, grids, shrunk)
    return axes if base is None else axes.on(load_preset(convert(base, "str", "base")))


def _plain(toml: Mapping[str, Any], more: Sequence[str]) -> dict[str, Any]:
    """``toml`` with ``_`` for ``-`` in its keys, which are a cell's, ``seeds`` and ``more``. Raises UserError."""
    known = (*more, "seeds", *FIELDS)
    table: dict[str, Any] = {}
    for key, value in toml.items():
        plain = key.replace("-", "_")
        if plain not in known:
            raise unknown("key", key, known)
        if plain in table:
            raise UserError(f"{shown(key)}: given twice; write it once.")
        table[plain] = value
    return table


def _values(table: dict[str, Any]) -> dict[str, list[Any]]:
    if {"seed", "seeds"} <= table.keys():
        raise UserError("seed and seeds are both given; seeds = 3 means seed = [0, 1, 2], so write one of them.")
    if "seeds" in table:
        table["seed"] = seed_range(table.pop("seeds"))
    return {field: list(_items(field, value)) for field, value in table.items()}


def _told_apart(name: str, cells: Iterable[CellSpec]) -> str:
    """``name``, but for the whole grid of one data set, which is called by that: ``cifar10-lt-cpu``."""
    start, dash, scale = name.partition("-")
    datasets = {cell.dataset for cell in cells}
    return f"{datasets.pop()}{dash}{scale}" if start == WHOLE and scale and len(datasets) == 1 else name


def _every(name: str, items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        if item == "*" and name in _EVERY:
            useless = list(registry.broken(name).values())  # type: ignore[arg-type]
            if useless:
                raise UserError(f"{name} '*' is every one, and not all can be used. Name those you want. {useless[0]}")
            yield from _EVERY[name]()
        else:
            yield item


def _check_size(spans: Sequence[Mapping[str, Sequence[Any]]]) -> None:
    cells = sum(math.prod(map(len, span.values())) for span in spans)
    if cells > _MOST:
        many = "; ".join(f"{name} has {len(items):,} values" for name, items in spans[0].items() if len(items) > 1)
        raise UserError(
            f"these settings make {shown(f'{cells:,}', 40)} cells, and a grid has at most {_MOST:,}: {many}."
        )


def _presets() -> Any:
    return files("clipfed_bench") / "presets"


def _items(name: str, value: Any) -> Iterator[Any]:
    if value == []:
        raise UserError(f"{name}: the list is empty; give one value at least, or leave the key out.")
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, _SCALARS):
            raise UserError(
                f"{name}: '{shown(item)}' is not one value; write {name} = value or {name} = [value, value]."
            )
        yield _check(name, item)


def _split(name: str, text: str) -> list[str]:
    try:
        return split_list(text)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _check(name: str, value: Any) -> Any:
    return convert(value, value_type(FIELDS[name]), name)
