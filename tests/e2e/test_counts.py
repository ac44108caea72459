"""That nothing is computed twice: what a grid says it has computed, stopped in the middle or not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from watching import run

from clipfed_bench.cli.options import choose_axes
from clipfed_bench.cli.running import show_run
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.grid import make_grid
from clipfed_bench.core import work_counts as counts
from clipfed_bench.core.messages import Environment
from clipfed_bench.execution.places import Places
from clipfed_bench.execution.session import Interrupted, Session
from clipfed_bench.simulator import shared
from clipfed_bench.simulator.cell_setup import CellSetup

GRID = {"dataset": "digits", "model": "cnn", "clients": "60", "clients_per_round": "2", "local_epochs": "1"}
GRID |= {"attack": "badnets,neurotoxin", "defense": "fedavg,foolsgold,clip-fed[augment=none]", "seed": "0,1"}
GRID |= {
    "malicious": "0.5",
    "warmup_rounds": "3",
    "attack_start": "5",
    "rounds": "6",
    "eval_every": "6",
    "server_data": "holdout:4",
}
GRID |= {"teacher": "local[epochs=1,width=2,depth=1]", "server_per_class": "2"}
CELLS = make_grid(choose_axes(GRID)).cells


def start(folder):
    return Session(CELLS, Places(folder / "run", "cpu", 1, cache_dir=folder / "cache", checkpoint_every=1))


def lines(session):
    return [json.loads(line) for line in session.account.path.read_text().splitlines()]


def computed(session):
    """Sums over all runs of the folder; and what jobs say adds up to what runs say."""
    runs, jobs = Counter(), Counter()
    for line in lines(session):
        (runs if line["event"] == "computed" else jobs).update(line.get("computed", {}))
    return runs, jobs


def test_a_grid_computes_everything_once_also_when_it_is_stopped_and_goes_on(tmp_path, capsys):
    assert (len(CELLS), len({c.prefix_key for c in CELLS}), len({c.warmup_key for c in CELLS})) == (12, 6, 2)
    stopped = start(tmp_path)

    def stop_in_the_third_cell(event):
        done = stopped.account.computed["cell"]
        if event.job.stage == "cell" and event.kind == "step" and event.step.stage and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run(stopped, stop_in_the_third_cell)
    first, _ = computed(stopped)
    done = {line["job"] for line in lines(stopped) if line["event"] == "done" and line["stage"] == "cell"}
    needed = {f"{cell.prefix_key}.safetensors" for cell in CELLS if cell.key not in done}
    assert {path.name for path in (tmp_path / "run" / "prefixes").iterdir()} == needed
    shared = {"teacher": 1, "feature set": 1, "warm-up": 2, "prefix": 6}
    alone = {"data set": 1, "partition": 2, "augmented set": 1, "server set": 2}
    assert first == shared | alone | {"cell": 2, "round": 2 * 3 + 6 * 4 + 2 * 2}
    session = start(tmp_path)
    assert show_run(session)
    both, jobs = computed(session)
    second = both - first
    # The second process reads and draws what it needs for itself; of what is kept on disk it computes nothing.
    assert {kind: second[kind] for kind in shared} == dict.fromkeys(shared, 0)
    assert {kind: second[kind] for kind in alone} == alone
    assert second["cell"] == 10
    rest = 10 * 2 - second["round"]
    assert 0 <= rest <= 1, "the stopped cell goes on from its last round"
    said = f"Computed: 1 data set, 2 partitions, 2 server sets, 1 augmented set, 10 cells, {20 - rest} rounds."
    assert said in " ".join(capsys.readouterr().out.split())
    assert jobs == both
    assert not (tmp_path / "run" / "prefixes").exists()


def test_cells_draw_the_partition_of_their_settings(monkeypatch):
    assert CellSetup(CellSpec(dataset="digits", model="cnn", warmup_rounds=0, clients=20), Environment()).data
    counts.take()
    settings = [{}, {"attack": "dba", "defense": "krum"}, {"seed": 1}, {"alpha": 0.1}, {"partition": "iid"}, {}]
    specs = [
        CellSpec(**{"dataset": "digits", "model": "cnn", "warmup_rounds": 0, "clients": 20, **other})
        for other in settings
    ]
    shared.shares.cache_clear()
    cached = [CellSetup(spec, Environment()).federation.clients for spec in specs]
    assert counts.take() == {"partition": 4}
    monkeypatch.setattr(shared, "shares", shared.shares.__wrapped__)
    drawn = [CellSetup(spec, Environment()).federation.clients for spec in specs]
    for one, other in zip(cached, drawn, strict=True):
        assert all(a.images.equal(b.images) and a.labels.equal(b.labels) for a, b in zip(one, other, strict=True))
    assert counts.take() == {"partition": 6}


def test_other_data_have_a_partition_of_their_own():
    cell = CellSpec(dataset="digits", model="cnn", warmup_rounds=0, clients=20)
    data = CellSetup(cell, Environment()).data
    fewer = replace(data, train=data.train.take(data.train.labels.argsort()[:900]))
    for one in (data, fewer, data):
        setup = CellSetup(cell, Environment())
        setup.data = one
        assert sum(map(len, setup.federation.clients)) == len(one.train)
