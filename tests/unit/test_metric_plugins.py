"""A metric of another package: recorded where it is installed, and without it everything is as it was."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from makers.specs import environment, resumed_cell
from miniature import miniature, numbers

from clipfed_bench.components import entry_points
from clipfed_bench.core.metric import Recorded
from clipfed_bench.report.page import facts
from clipfed_bench.report.page.evidence import later
from clipfed_bench.report.tables.table import table, to_records
from clipfed_bench.runs import metric_catalog
from clipfed_bench.runs.columns import of_figures
from clipfed_bench.runs.digests import recorded
from clipfed_bench.runs.metrics import METRICS
from clipfed_bench.runs.reading import read_run
from clipfed_bench.runs.store import RunStore
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import TestSets, evaluate
from clipfed_bench.simulator.prefix import run_prefix

SOURCE = Path(__file__).parents[1] / "plugin" / "src"
RA = "robust_accuracy"


@pytest.fixture
def installed(monkeypatch):
    """Installs the metrics of tests/plugin, or removes them again."""
    monkeypatch.syspath_prepend(SOURCE)
    entry = EntryPoint("example", "clipfed_example.metrics", "clipfed_bench.metrics")
    real = entry_points.entry_points

    def install(is_there=True):
        own = [entry] if is_there else []
        monkeypatch.setattr(
            entry_points, "entry_points", lambda group: own if group == entry.group else real(group=group)
        )
        metric_catalog.added.cache_clear()

    install()
    yield install
    metric_catalog.added.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "clipfed_example"]:
        del sys.modules[name]  # for tests that have one of that name elsewhere


class Told(torch.nn.Module):
    """Its logits are the first pixels of an image."""

    def forward(self, images):
        return images[:, 0, 0, :3]


def test_it_is_measured_of_the_same_outputs_as_asr(installed):
    pixels = torch.zeros(6, 3, 8, 8)
    said = [0, 1, 2, 1, 2, 2]  # of 0 is the target, and so left out
    pixels[torch.arange(6), 0, 0, said] = 1.0
    labels = torch.tensor([0, 1, 2, 1, 1, 2])
    triggered = pixels[1:].clone()
    triggered[:2, 0, 0, :3] = torch.tensor([2.0, 0.0, 0.0])  # two are taken for the target, and one for what it is not
    sets = TestSets(pixels, labels, triggered, 0, measured=metric_catalog.measured())
    assert evaluate(Told(), sets) == {"mta": 5 / 6, "asr": 0.4, "asr_clean": 0.0, RA: 0.4}
    untargeted = replace(sets, triggered=triggered[:0])
    assert math.isnan(evaluate(Told(), untargeted)[RA])
    assert evaluate(Told(), replace(sets, measured=())) == {"mta": 5 / 6, "asr": 0.4, "asr_clean": 0.0}


def test_a_cell_has_it_beside_what_it_has_anyway_alone_or_after_shared_rounds(installed, tmp_path):
    spec = resumed_cell(rounds=2, attack_start=2, eval_every=1)
    env = environment(tmp_path, "warmup", "prefix")

    def bare(result):
        return [[pair for pair in row if pair[0] != RA] for row in numbers(result)]

    with miniature(evaluate, train=12, test=12):
        alone = run_cell(spec, replace(env, prefix_dir=None))
        run_prefix(spec, env)
        assert numbers(run_cell(spec, env)) == numbers(alone)
        installed(False)
        without = run_cell(spec, replace(env, prefix_dir=None))
    assert bare(alone) == numbers(without)
    assert [0 <= row[RA] <= 1 for row in alone.history] == [True] * 3
    assert alone.final[RA] == alone.history[-1][RA]
    assert RA not in without.final
    assert recorded(alone.provenance) == recorded(without.provenance)
    assert set(alone.provenance) - set(without.provenance) == {f"metric_{RA}"}


def test_cells_without_it_show_a_dash_and_cells_with_it_can_be_read_anywhere(installed, tmp_path, stored):
    store = RunStore(tmp_path)
    without, beside = stored(store, seed=0), stored(store, seed=1, **{RA: 0.25})
    other = stored(store, seed=0, defense="krum")
    results, history = store.frames()
    assert results.set_index("key")[RA].to_dict() == pytest.approx(
        {without: math.nan, beside: 0.25, other: math.nan}, nan_ok=True
    )
    assert history.groupby("key")[RA].max()[beside] == 0.25
    made = table(results, metrics=("mta", RA), spread="none")
    assert [entry.numbers[1].mean for entry in made.entries.values()] == [0.25, None]
    assert RA in [section.id for section in later(results, "none", 5.0)]
    store.export()
    installed(False)
    assert store.statuses([without, beside]) == {without: "done", beside: "done"}
    elsewhere, _ = store.frames()
    assert elsewhere.set_index("key")[f"final_{RA}"][beside] == 0.25
    assert list(store.frames([without])[0]) == list(results.drop(columns=RA)), "no column of what has none"
    table(elsewhere)
    exported = read_run(tmp_path / "results.parquet").results
    assert exported[RA].max() == 0.25
    assert RA not in [fact.name for fact in facts.provenance(to_records(exported))], "a figure, not where it is from"


@pytest.fixture
def stored():
    """Stores a cell with figures; its key."""
    from clipfed_bench.config.cell_spec import CellSpec
    from clipfed_bench.core.messages import CellResult

    def store(into, seed, defense="fedavg", **more):
        spec = CellSpec(dataset="digits", seed=seed, defense=defense)
        row = {"round": 0, "mta": 0.5, "asr": 0.5, **more}
        into.put(spec, CellResult([row], dict.fromkeys(METRICS, 0.5) | more, {}))
        return spec.key

    return store


def test_its_figure_of_a_cell_is_the_last_measured_unless_it_says_otherwise(installed):
    rows = [
        {
            "round": r,
            "mta": 0.5,
            "asr": 0.5,
        }
        for r in range(3)
    ]
    metric = metric_catalog.metrics()[RA]
    assert metric.final(Recorded([row | {RA: row["round"] / 10} for row in rows], [])) == 0.2
    assert math.isnan(metric.final(Recorded(rows, [])))


def test_it_is_the_last_of_all_and_no_column_of_the_projects_own(installed):
    assert list(metric_catalog.metrics()) == [*METRICS, RA]
    assert metric_catalog.find_metrics([RA, "mta"])[0].meaning.startswith("Robust accuracy: share of triggered")
    assert RA not in [column.name for column in of_figures()]
