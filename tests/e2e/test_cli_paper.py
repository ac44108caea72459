"""``clipfed-bench paper``: what it runs, what it renders, and how it says no."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

from clipfed_bench.cli.main import app
from clipfed_bench.config import grid
from clipfed_bench.config.grid import load_preset, make_grid
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import CellResult
from clipfed_bench.runs.store import RunStore

TINY = {
    "dataset": ["digits"],
    "model": ["cnn"],
    "warmup_rounds": [0],
    "clients": [10],
    "clients_per_round": [5],
    "rounds": [1],
    "local_epochs": [1],
    "lr": [0.05],
    "eval_every": [1],
    "seed": [0],
}


def call(*arguments):
    return CliRunner().invoke(app, ["paper", *map(str, arguments)])


@pytest.fixture
def stored(tmp_path):
    """A run folder with the cells of Table 3 at CPU scale."""
    store = RunStore(tmp_path / "run")
    for i, cell in enumerate(make_grid(load_preset("paper-table3").at("cpu")).cells):
        figures = {"mta": 0.5 + i / 100, "asr": 0.9 - i / 100}
        store.put(cell, CellResult([{"round": 10, **figures}], figures, {}))
    return store.folder


def test_what_is_stored_is_rendered_in_every_format_and_nothing_is_run(stored):
    done = call("table3", "--scale", "cpu", "--out", stored, "--no-run")
    assert done.exit_code == 0, done.output
    assert "Table 3. Share of malicious clients" in done.output
    assert sorted(path.name for path in (stored / "paper").iterdir()) == ["table3.md", "table3.parquet", "table3.tex"]
    frame = pd.read_parquet(stored / "paper" / "table3.parquet")
    assert frame.loc[(frame.defense == "fedavg") & (frame.malicious == 0.2), "mta"].item() == pytest.approx(0.5)
    assert frame["mta_published"].notna().all()


def test_all_is_every_table_and_figure_once(stored):
    done = call("all", "--scale", "cpu", "--out", stored, "--dry-run", "--keep-stale")
    assert done.exit_code == 0, done.output
    wanted = {
        cell.key
        for name in ("table1", "table2", "table3", "table4", "table5", "fig3", "fig6", "fig7")
        for cell in make_grid(load_preset(f"paper-{name}").at("cpu")).cells
    }
    # 18 are stored; two of them are figure 3's as well and have no model yet
    assert f"{len(wanted)} cells: 16 done" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tabel1"], "unknown table or figure 'tabel1'. Did you mean 'table1'"),
        (["table1", "--scale", "gpu"], "unknown scale 'gpu'. Did you mean 'cpu'"),
        (["table1", "--seeds", "0"], "seeds: 0 is not a number of seeds"),
    ],
)
def test_mistakes(arguments, message, tmp_path):
    done = call(*arguments, "--out", tmp_path / "run")
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_figure_without_its_cells_says_so_and_the_rest_is_rendered(stored):
    done = call("table3", "fig6", "--scale", "cpu", "--out", stored, "--no-run")
    assert isinstance(done.exception, UserError)
    assert "fig6 cannot be made" in str(done.exception)
    assert (stored / "paper" / "table3.tex").exists()


def test_cells_are_run_once_and_models_kept_where_a_figure_needs_them(tmp_path, monkeypatch):
    def tiny(name):
        axes = load_preset(name).override(TINY | {"defense": ["fedavg"]})
        return axes.override({"attack": ["badnets"], "rounds": [1, 2] if name == "paper-fig3" else [1]})

    monkeypatch.setattr(grid, "load_preset", tiny)
    options = ["--out", tmp_path / "run", "--workers", 1, "--device", "cpu", "--cache-dir", tmp_path / "cache"]
    first = call("table1", *options)
    assert first.exit_code == 0, first.output
    again = call("table1", *options)
    assert "1 of 1 cells are done already" in again.output
    figure = call("fig3", *options)  # the cell of one round is run again, for its model
    assert isinstance(figure.exception, UserError)
    assert "no cell's defense has one; add clip-fed" in str(figure.exception)
    assert len(list((tmp_path / "run" / "models").iterdir())) == 2
