"""Parts of CLIP-Fed against how good the teacher is: MTA and ASR of a run, with the teacher's accuracy on the x axis.

    python -m benchmarks.factorial RUN docs/teachers.png --attack badnets --server-data cifar10-generated \
        --right lit=0.749 --right lit-holdout=0.861 ...

Each ``--right TEXT=SHARE`` says how good the teacher is whose name has TEXT in it, the last one that fits:
`clipfed-bench teacher eval` measures it on real test images. Defenses that were run with one teacher, or with none, are
horizontal lines. The same figures are printed as Markdown: mean and sample standard deviation over seeds, in per cent.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from clipfed_bench import load_run
from clipfed_bench.report.plots.style import drawing, looks, save

METRICS = {"mta": "MTA", "asr": "ASR"}


def summary(results: pd.DataFrame, right: Mapping[str, float]) -> pd.DataFrame:
    """Mean, deviation and seeds by defense and accuracy of the teacher, NaN where it has none."""
    done = results[results["status"] == "done"].copy()
    done["right"] = [accuracy(teacher, right) for teacher in done["teacher"]]
    grouped = done.groupby(["defense", "right"], dropna=False)
    found = {f"{name}_{how}": grouped[name].agg(how) for name in METRICS for how in ("mean", "std")}
    return pd.DataFrame({**found, "seeds": grouped.size()}).reset_index()


def accuracy(teacher: object, right: Mapping[str, float]) -> float:
    """How good ``teacher`` is; NaN for none. Raises ValueError where nothing says so."""
    if not isinstance(teacher, str):
        return float("nan")
    fits = [share for text, share in right.items() if text in teacher]
    if not fits:
        raise ValueError(f"--right says nothing of the teacher {teacher}")
    return fits[-1]


def draw(numbers: pd.DataFrame) -> Figure:
    """MTA on the left, ASR on the right."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    styles = looks(numbers["defense"])
    for axes, (name, label) in zip(figure.subplots(1, 2), METRICS.items(), strict=True):
        for defense, rows in numbers.groupby("defense", sort=False):
            look, mean, std = styles[str(defense)], 100 * rows[f"{name}_mean"], 100 * rows[f"{name}_std"]
            if len(rows) == 1:  # no teacher, or one that has no part in it
                axes.axhline(float(mean.iloc[0]), color=look.color, linestyle=look.line, label=str(defense))
                continue
            style = {"color": look.color, "marker": look.marker, "linestyle": look.line, "capsize": 2}
            axes.errorbar(100 * rows["right"], mean, std.fillna(0), label=str(defense), **style)
        axes.set_xlabel("teacher right on real test images, %")
        axes.set_ylabel(f"{label}, %")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--attack", required=True)
    parser.add_argument("--server-data", required=True)
    parser.add_argument("--right", action="append", default=[])
    asked = parser.parse_args(arguments)
    if not asked.out.suffix or not all("=" in given for given in asked.right):
        parser.error("OUT ends in .png, .pdf or .svg, and --right is TEXT=SHARE")
    right = {text: float(share) for text, _, share in (given.rpartition("=") for given in asked.right)}
    results = load_run(asked.run).results
    there = results["server_data"].isna() | (results["server_data"] == asked.server_data)
    chosen = results[there & (results["attack"] == asked.attack)]
    if chosen.empty or chosen.duplicated(["defense", "teacher", "seed"]).any():
        parser.error("there are no such cells, or they differ in more than defense, teacher and seed")
    numbers = summary(chosen, right)
    with drawing():
        save(draw(numbers), asked.out.parent, asked.out.stem, (asked.out.suffix[1:],))
    print("| defense | teacher right on | seeds | MTA | ASR |\n|---|---|---|---|---|")
    for row in numbers.to_dict("records"):
        known = "–" if pd.isna(row["right"]) else f"{100 * row['right']:.1f}"
        shown = (f"{100 * row[f'{name}_mean']:.1f} ± {100 * row[f'{name}_std']:.1f}" for name in METRICS)
        print(f"| {row['defense']} | {known} | {row['seeds']} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
