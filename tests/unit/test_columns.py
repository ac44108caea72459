"""The columns that the documentation lists are those that files have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import CellResult
from clipfed_bench.core.provenance import provenance
from clipfed_bench.report.regression.reference import default_path, read_reference
from clipfed_bench.runs import columns
from clipfed_bench.runs.metrics import METRICS
from clipfed_bench.runs.store import RunStore

ROOT = Path(__file__).parents[2]


def named(found):
    names = [column.name for column in found]
    assert len(set(names)) == len(names)
    return names


def in_results():
    return named([*columns.of_cells(), *columns.of_figures(), *columns.of_provenance()])


def test_files_have_the_columns_in_that_order(tmp_path):
    store = RunStore(tmp_path)
    evaluation = dict.fromkeys(named(columns.of_history())[8:], 0.0) | {"round": 1}
    facts = provenance() | dict.fromkeys([name for name in in_results() if name not in provenance()], "x")
    facts = {name: text for name, text in facts.items() if name not in (*CellSpec().as_dict(), *METRICS)}
    for name in ("key", "status", "error", "created", "attack_name", "defense_name"):
        del facts[name]
    store.put(CellSpec(), CellResult([evaluation], dict.fromkeys(METRICS, 0.5), facts))
    results, history = store.frames()
    assert sorted(results) == sorted(in_results())
    measured = len(columns.of_cells()) + len(columns.of_figures())
    assert list(results)[:measured] == in_results()[:measured]
    assert list(history) == named(columns.of_history())


def test_what_was_measured_with_is_listed():
    assert set(provenance()) <= set(named(columns.of_provenance()))
    assert set(read_reference(default_path("nightly")).records[0]) <= set(in_results())


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "baselines").glob("*.py")), ROOT / "clipfed_bench/clipfed/defense.py"]
)
def test_what_defenses_say_is_listed(path):
    said = re.findall(r"info\s*=\s*(\{[^}]*\})", path.read_text(encoding="utf-8"))
    assert {name for text in said for name in re.findall(r'"(\w+)":', text)} <= set(columns.INFO)
