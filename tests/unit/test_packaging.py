"""What has to travel with the package is found where an installed package finds it."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pandas as pd
from setuptools import find_packages

from clipfed_bench.config.grid import preset_names


def test_published_tables_travel() -> None:
    with (files("results.published") / "clip_fed.csv").open() as file:
        table = pd.read_csv(file)
    assert set(table["table"]) == {1, 2, 3, 4, 5}
    row = table[(table.table == 1) & (table.dataset == "cifar10") & (table.attack == "badnets")].set_index("defense")
    assert (row.mta["clip-fed"], row.asr["clip-fed"]) == (81.50, 2.77)


def test_what_measures_the_project_stays_at_home() -> None:
    root = Path(__file__).parents[2]
    options = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packages = find_packages(str(root), **options)
    found = {name.split(".")[0] for name in packages}
    assert found == {
        "clipfed_bench",
        "attacks",
        "baselines",
        "partitions",
        "architectures",
        "data_sets",
        "results",
    }


def test_presets_travel() -> None:
    assert {"demo", "smoke", "whole"} <= set(preset_names())
