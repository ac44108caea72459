"""Which settings a table's rows and columns stand for, so that numbers are averaged over seeds and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError, unknown

Record = Mapping[str, Any]

SETTINGS = tuple(f.name for f in fields(CellSpec) if f.name != "seed")
AXES = (*SETTINGS, "attack_name", "defense_name", "seed")

OF_DEFENSE = ("defense", "defense_name", "teacher", "templates", "server_data", "server_per_class")
"""The defense and the settings that it determines: cells that are alike but for these are compared with each other."""

FOLLOWS = {
    "dataset": ("imbalance_factor",),
    "partition": ("alpha", "degree"),
    "alpha": ("partition", "degree"),
    "degree": ("partition", "alpha"),
    "attack_name": ("attack",),
    "defense_name": OF_DEFENSE,
    "defense": OF_DEFENSE,
}
"""Column axis -> settings that may differ between its values without making a row unfair."""

_FIRST = ("none", "badnets", "blend", "dba", "fedavg", "krum", "multi-krum", "median", "trimmed-mean", "flame")
_LAST = "clip-fed"


def choose(
    records: Sequence[Record], rows: Sequence[str] | None, cols: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Rows, columns, and which of them were added since they vary.

    A setting that varies is added: in front of the rows, where it would make cells of one row incomparable, or behind
    the columns, where it belongs to the columns (the teacher of a defense). ``rows`` None: attack × alpha or degree.
    Raises UserError for what is not an axis, and for an axis that is asked for twice.
    """
    chosen = [*(_default_rows(records, cols) if rows is None else rows), *cols]
    for name in chosen:
        if name not in AXES:
            raise unknown("column", name, AXES)
        if chosen.count(name) > 1:
            raise UserError(f"'{name}' is asked for twice in the rows and columns of the table.")
    split = len(chosen) - len(cols)
    left, top = chosen[:split], chosen[split:]
    added: list[str] = []
    for name in SETTINGS:
        if name in left or name in top:
            continue
        follows = any(name in FOLLOWS.get(column, ()) for column in top)
        if _varies(records, name, [*left, *top] if follows else left):
            if follows:
                top.append(name)
            else:
                added.append(name)
                left = [*added, *chosen[:split]]
    return tuple(left), tuple(top), tuple(name for name in [*left, *top] if name not in chosen)


def rank(value: Any) -> tuple[Any, ...]:
    """Key that sorts values of an axis: numbers by size, known names in their usual order, none last."""
    if value is None:
        return (3, 0.0, "")
    if isinstance(value, str):
        name = value.partition("[")[0]
        place = len(_FIRST) + 1 if name == _LAST else _FIRST.index(name) if name in _FIRST else len(_FIRST)
        return (1, float(place), value)
    return (0, float(value), "")


def ranks(values: Iterable[Any]) -> tuple[Any, ...]:
    """Key that sorts tuples of values of several axes."""
    return tuple(map(rank, values))


def refuse_duplicates(records: Iterable[Record], axes: Sequence[str]) -> None:
    """Raises UserError for two cells with one seed in one place of the table: their mean would mean nothing."""
    seen: dict[tuple[Any, ...], str] = {}
    for record in records:
        place = (*(record[name] for name in axes), record["seed"])
        if place in seen:
            what = ", ".join(f"{name} {value}" for name, value in zip((*axes, "seed"), place, strict=True))
            raise UserError(
                f"cells {seen[place]} and {record['key']} are the same for the table ({what}), though not the same "
                "cell: a default changed between them. Remove the files of one of them from the run's cells folder, or "
                "name its results.parquet, which holds the cells of the last grid alone."
            )
        seen[place] = record["key"]


def _default_rows(records: Sequence[Record], cols: Sequence[str]) -> list[str]:
    def used(name: str) -> bool:
        return name not in cols and any(record[name] is not None for record in records)

    return [name for name in ("attack", "alpha", "degree") if used(name)]


def _varies(records: Sequence[Record], name: str, within: Sequence[str]) -> bool:
    values: defaultdict[tuple[Any, ...], set[Any]] = defaultdict(set)
    for record in records:
        values[tuple(record[axis] for axis in within)].add(record[name])
    return any(len(found) > 1 for found in values.values())
