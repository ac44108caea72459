"""Parts of CLIP-Fed against how good the teacher is: MTA and ASR of a run, with the teacher's accuracy on the x axis.

    python -m benchmarks.factorial RUN docs/teachers.png --attack badnets --attack "frequency[magnitude=300]" \
        --server-data cifar10-generated --server-data holdout:100 --right lit=0.749 --right holdout:100/lit=0.861 ...

Each attack with each kind of server data is a row of the figure and a table. Each ``--right TEXT=SHARE`` says how good
a teacher is, the last one that fits: TEXT is a part of ``SERVER_DATA/TEACHER``, since ``lit`` and ``local`` are trained
on the server's data. `clipfed-bench teacher eval` measures it on real test images. Defenses that were run with one
teacher, or with none, are horizontal lines. The same figures are printed as Markdown: mean and sample standard
deviation over seeds, in per cent.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from clipfed_bench import load_run
from clipfed_bench.report.plots.style import Look, drawing, looks, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = {"mta": "MTA", "asr": "ASR"}


def summary(results: pd.DataFrame, right: Mapping[str, float]) -> pd.DataFrame:
    """Mean, deviation and seeds by defense and accuracy of the teacher, NaN where it has none."""
    done = results[results["status"] == "done"].copy()
    done["right"] = [accuracy(*row, right) for row in zip(done["server_data"], done["teacher"], strict=True)]
    grouped = done.groupby(["defense", "right"], dropna=False)
    found = {f"{name}_{how}": grouped[name].agg(how) for name in METRICS for how in ("mean", "std")}
    return pd.DataFrame({**found, "seeds": grouped.size()}).reset_index()


def accuracy(server_data: object, teacher: object, right: Mapping[str, float]) -> float:
    """How good ``teacher`` is beside ``server_data``; NaN for none. Raises ValueError where nothing says so."""
    if not isinstance(teacher, str):
        return float("nan")
    fits = [share for text, share in right.items() if text in f"{server_data}/{teacher}"]
    if not fits:
        raise ValueError(f"--right says nothing of the teacher {teacher}")
    return fits[-1]


def cells(results: pd.DataFrame, attack: str, server_data: str) -> pd.DataFrame:
    """Cells of ``attack`` with ``server_data``, and with none of defenses that were not run beside it.

    Raises ValueError where there are none, and where they differ in more than defense, teacher and seed.
    """
    of_attack = results[results["attack"] == attack]
    with_it = of_attack[of_attack["server_data"] == server_data]
    without = of_attack[of_attack["server_data"].isna() & ~of_attack["defense"].isin(with_it["defense"])]
    chosen = pd.concat([with_it, without])
    if with_it.empty or chosen.duplicated(["defense", "teacher", "seed"]).any():
        raise ValueError(
            f"{attack}, {server_data}: there are no such cells, or they differ in more than defense, teacher and seed"
        )
    return chosen


def draw(rows: Mapping[str, pd.DataFrame]) -> Figure:
    """A row of panels for each of ``rows``, by title: MTA on the left, ASR on the right."""
    figure = Figure(figsize=(8.4, 1.0 + 2.4 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 2, sharex=True, sharey="col", squeeze=False)
    styles = looks(defense for numbers in rows.values() for defense in numbers["defense"])
    shown = {}
    for line, (title, numbers) in zip(panels, rows.items(), strict=True):
        for axes, (name, label) in zip(line, METRICS.items(), strict=True):
            for defense, found in numbers.groupby("defense", sort=False):
                shown[str(defense)] = _series(axes, name, found, styles[str(defense)])
            axes.set(ylabel=f"{label}, %", title=title)
    for axes in panels[-1]:
        axes.set_xlabel("teacher right on real test images, %")
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=2)
    return figure


def _series(axes: Axes, name: str, rows: pd.DataFrame, look: Look) -> Any:
    mean, std = 100 * rows[f"{name}_mean"], 100 * rows[f"{name}_std"]
    if len(rows) == 1:  # no teacher, or one that has no part in it
        return axes.axhline(float(mean.iloc[0]), color=look.color, linestyle=look.line)
    style: Any = {"color": look.color, "marker": look.marker, "linestyle": look.line, "capsize": 2}
    return axes.errorbar(100 * rows["right"], mean, std.fillna(0), **style)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--attack", action="append", required=True)
    parser.add_argument("--server-data", action="append", required=True)
    parser.add_argument("--right", action="append", default=[])
    asked = parser.parse_args(arguments)
    if not asked.out.suffix or not all("=" in given for given in asked.right):
        parser.error("OUT ends in .png, .pdf or .svg, and --right is TEXT=SHARE")
    right = {text: float(share) for text, _, share in (given.rpartition("=") for given in asked.right)}
    results = load_run(asked.run).results
    try:
        rows = {
            f"{attack}, {data}": summary(cells(results, attack, data), right)
            for attack, data in product(asked.attack, asked.server_data)
        }
    except ValueError as error:
        parser.error(str(error))
    with drawing():
        save(draw(rows), asked.out.parent, asked.out.stem, (asked.out.suffix[1:],))
    for title, numbers in rows.items():
        print(f"\n{title}\n\n| defense | teacher right on | seeds | MTA | ASR |\n|---|---|---|---|---|")
        for row in numbers.to_dict("records"):
            known = "–" if pd.isna(row["right"]) else f"{100 * row['right']:.1f}"
            shown = (f"{100 * row[f'{name}_mean']:.1f} ± {100 * row[f'{name}_std']:.1f}" for name in METRICS)
            print(f"| {row['defense']} | {known} | {row['seeds']} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
