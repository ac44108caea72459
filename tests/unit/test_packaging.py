"""What has to travel with the package is found where an installed package finds it."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

from clipfed_bench.config.grid import preset_names


def test_published_tables_travel() -> None:
    with (files("results.published") / "clip_fed.csv").open() as file:
        table = pd.read_csv(file)
    assert set(table["table"]) == {1, 2, 3, 4, 5}
    row = table[(table.table == 1) & (table.dataset == "cifar10") & (table.attack == "badnets")].set_index("defense")
    assert (row.mta["clip-fed"], row.asr["clip-fed"]) == (81.50, 2.77)


def test_presets_travel() -> None:
    assert {"demo", "smoke", "cifar10-lt-cpu"} <= set(preset_names())
