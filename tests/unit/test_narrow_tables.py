"""Tables on a screen that is narrower than they are."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from rich.console import Console

from clipfed_bench import report
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.report.formats.terminal import screen


def run(defenses: int, attacks: int) -> pd.DataFrame:
    """Cells of so many defenses and attacks, whose numbers are 13 characters wide."""
    specs = [
        CellSpec(attack=f"badnets[size={size}]", defense=f"clip-fed[beta=0.{tenths}]", teacher="local")
        for tenths in range(1, defenses + 1)
        for size in range(2, attacks + 2)
    ]
    names = {"attack_name": "badnets", "defense_name": "clip-fed"}
    figures = {"mta": 1.0, "asr": 1.0, "tpr": None, "fpr": None}
    return pd.DataFrame([{"key": s.key, "status": "done", **s.as_dict(), **names, **figures} for s in specs])


@pytest.mark.parametrize(
    ("defenses", "attacks", "width", "corner"),
    [
        (9, 2, 80, ("defense",)),
        (9, 2, 200, ("attack", "alpha")),  # it fits
        (9, 2, None, ("attack", "alpha")),  # a file
        (9, 12, 80, ("attack", "alpha")),  # turned it would be wider still
    ],
)
def test_rows_stand_for_columns_where_a_screen_is_too_narrow(
    defenses: int, attacks: int, width: int | None, corner: tuple[str, ...]
) -> None:
    made = report.sheet(run(defenses, attacks), decimals=1, width=width)
    assert made.corner == corner
    console = Console(width=width or 200, record=True, file=io.StringIO())
    console.print(screen(made))
    assert console.export_text().count("100.0 / 100.0") == (18 if attacks == 2 else 0)


def test_more_than_two_metrics_stay_below_one_another() -> None:
    assert report.sheet(run(9, 2), metrics=("mta", "asr", "tpr"), width=40).corner == ("attack", "alpha", "metric")
