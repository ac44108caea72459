"""Which cells a figure is made of: what they may differ in, and which of them are done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import heading, label
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.tables.axes import FOLLOWS
from clipfed_bench.runs.store import RunStore

_FIELDS = tuple(CellSpec.__dataclass_fields__)


def values(cells: Sequence[CellSpec], name: str) -> list[Any]:
    """The values of a setting in ``cells``, as they are stored, each once, in the order in which they come."""
    return list(dict.fromkeys(cell.as_dict()[name] for cell in cells))


def differences(cells: Sequence[CellSpec], allowed: Collection[str]) -> dict[str, list[Any]]:
    """Settings in which ``cells`` differ, with their values; without ``allowed`` ones and what follows from them."""
    silent = {*allowed, *(name for setting in allowed for name in FOLLOWS.get(setting, ()))}
    found = {name: values(cells, name) for name in _FIELDS if name not in silent}
    return {name: different for name, different in found.items() if len(different) > 1}


def require_alike(cells: Sequence[CellSpec], allowed: Collection[str], figure: str) -> None:
    """Raise UserError where there are no cells, or they differ in anything but ``allowed``."""
    if not cells:
        raise UserError(f"{figure} needs cells, and there are none.")
    found = differences(cells, allowed)
    if found:
        what = "; ".join(f"{heading(name)} {', '.join(map(label, found[name]))}" for name in found)
        raise UserError(f"{figure} cannot show cells that differ in this: {what}. Give one value of each.")


def require_single(cells: Sequence[CellSpec], place: Sequence[str], figure: str) -> None:
    """Raise UserError where two cells of one seed are alike in ``place`` and so would be averaged or overdrawn."""
    seen: dict[tuple[Any, ...], CellSpec] = {}
    for cell in cells:
        key = (*(getattr(cell, name) for name in place), cell.seed)
        if key in seen and seen[key] != cell:
            require_alike([seen[key], cell], (), figure)
        seen[key] = cell


def finished(cells: Sequence[CellSpec], store: RunStore) -> tuple[list[CellSpec], pd.DataFrame, pd.DataFrame]:
    """The cells that are done, with their results and history (see :meth:`RunStore.frames`).

    Raises UserError where none is.
    """
    statuses = store.statuses(cell.key for cell in cells)
    done = [cell for cell in cells if statuses.get(cell.key) == "done"]
    if not done:
        failed = sum(status == "failed" for status in statuses.values())
        what = f"{store.folder}, {failed} failed" if failed else f"{store.folder}"
        raise UserError(f"none of the {len(cells)} cells of this figure is done in {what}; run them first.")
    results, history = store.frames(cell.key for cell in done)
    return done, results, history
