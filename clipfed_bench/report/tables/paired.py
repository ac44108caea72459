"""Cells of two defenses that are alike in setting and seed, and what one came to minus the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from clipfed_bench.components.registry import choose
from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.core.values import show
from clipfed_bench.report.tables.axes import OF_DEFENSE, SETTINGS, Record, refuse_duplicates

ALIKE = tuple(name for name in SETTINGS if name not in OF_DEFENSE)
"""Settings in which the cells of a pair agree."""

Setting = tuple[Any, ...]


def setting(record: Record) -> Setting:
    """What the cells of a pair have in common beside the seed: the values of ALIKE, then held-out server data, if any.

    Held-out server images take data away from clients, so cells with and without them are no pair.
    """
    held_out = (record["server_data"] or "").startswith("holdout:")
    return (*(record[axis] for axis in ALIKE), record["server_data"] if held_out else None)


def cells_of(records: Sequence[Record], text: str) -> list[Record]:
    """The cells of one defense, named as in the results or in any other way that comes to the same options.

    Raises UserError where there are none, and where they differ in teacher or server data, or cannot be told apart.
    """
    names = {record["defense"] for record in records}
    name = text
    if text not in names:
        try:
            name = str(choose("defense", text))
        except UserError:
            raise unknown("defense of this run", text, names) from None
        if name not in names:
            raise unknown("defense of this run", text, names)
    found = [record for record in records if record["defense"] == name]
    for axis in OF_DEFENSE:
        values = {record[axis] for record in found}
        if len(values) > 1:
            listed = ", ".join(sorted(map(show, values)))
            raise UserError(f"the cells of {name} differ in {axis} ({listed}); compare in a run where they do not.")
    refuse_duplicates(found, ALIKE)
    return found


def differences(records: Sequence[Record], text: str, figures: Iterable[str]) -> tuple[str, list[dict[str, Any]]]:
    """The name of the defense that ``text`` names, and the other defenses' cells with ``figures`` minus its own.

    Cells that are done have their difference from its cell of the same setting and seed, None where either figure is
    undefined; those without such a cell that is done are left out. Raises UserError as :func:`cells_of`, and where
    nothing is left.
    """
    base = cells_of(records, text)
    name = str(base[0]["defense"])
    partners = {(setting(record), record["seed"]): record for record in base if record["status"] == "done"}
    figures = tuple(figures)
    found: list[dict[str, Any]] = []
    for record in records:
        partner = partners.get((setting(record), record["seed"]))
        if record["defense"] == name or (partner is None and record["status"] == "done"):
            continue
        found.append(dict(record))
        if partner is not None and record["status"] == "done":
            found[-1] |= {figure: _minus(record.get(figure), partner.get(figure)) for figure in figures}
    if not any(record["status"] == "done" for record in found):
        raise UserError(f"no other defense has a setting and seed in common with {name} for which both are done.")
    return name, found


def _minus(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else one - two
