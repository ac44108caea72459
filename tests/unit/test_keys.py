"""Keys of cells stay what they are: results that are stored are found by them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path

import pytest

from clipfed_bench.config.cell_spec import CellSpec, setting
from clipfed_bench.config.grid import load_preset, make_grid, preset_names
from clipfed_bench.core.messages import CellResult
from clipfed_bench.runs import cell_file
from clipfed_bench.runs.store import RunStore

RECORDED = {
    "demo": "7a3952e409ec8ad1",
    "nightly": "eb825cdbc69f0ed9",
    "paper": "d14a598d6a03a857",
    "paper-fig3": "6583b993a64f6e52",
    "paper-fig4": "c4430eb7f5ac45ca",
    "paper-fig5": "5bad34d96ae6b58a",
    "paper-fig6": "28594812ace7cf35",
    "paper-fig7": "cb6fa9e327b7080e",
    "paper-table1": "65c92ec25931548f",
    "paper-table2": "cd9392afaa154a68",
    "paper-table3": "b428ae77311e8b38",
    "paper-table4": "27722bf172ac98cf",
    "paper-table5": "17a3eb06997c09ca",
    "sensitivity": "edff06e5428d804d",
    "smoke": "bd827be63024fc3d",
    "whole": "6ff952c162eb38a9",
}
"""Preset -> digest of its keys. Where one differs, all that was stored of it is computed again: mean it."""


@dataclass(frozen=True)
class Grown(CellSpec):
    """A cell with a setting that came later."""

    dropout: float = setting(0.0, "ours", "share of clients that do not answer", low=0, high=1, neutral=0)


def cells(preset: str) -> list[CellSpec]:
    """Those of a preset, at each of its scales."""
    axes = load_preset(preset)
    return [cell for each in (axes, *map(axes.at, axes.scales)) for cell in make_grid(each).cells]


def keys(cell: CellSpec) -> tuple[str, str, str]:
    return cell.key, cell.warmup_key, cell.prefix_key


def test_every_preset_is_recorded() -> None:
    assert list(RECORDED) == preset_names()


@pytest.mark.parametrize("preset", RECORDED)
def test_no_key_of_a_preset_changes_also_where_cells_have_a_setting_more(preset: str) -> None:
    found = cells(preset)
    assert sha256(" ".join(key for cell in found for key in keys(cell)).encode()).hexdigest()[:16] == RECORDED[preset]
    grown = [Grown(**{f.name: getattr(cell, f.name) for f in fields(cell)}) for cell in found]
    assert [keys(cell) for cell in grown] == [keys(cell) for cell in found]


def test_a_setting_that_came_later_is_in_the_keys_at_any_other_value() -> None:
    changed = Grown(dropout=0.5, attack_start=3)
    assert {changed.key, changed.prefix_key}.isdisjoint(keys(replace(changed, dropout=0)))


def test_a_cell_stored_before_a_setting_came_has_its_neutral_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, spec = RunStore(tmp_path), CellSpec()
    store.put(spec, CellResult([], {"mta": 0.5, "asr": 0.5}, {}))
    monkeypatch.setattr(cell_file, "CellSpec", Grown)
    found = cell_file.read_cell(tmp_path / "cells" / f"{spec.key}.json", Grown().key)["spec"]
    assert found["dropout"] == 0
    assert (found["attack"], found["attack_name"]) == ("badnets", "badnets")
