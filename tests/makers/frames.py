"""Results and histories of runs as the store would give them, made by hand."""

from __future__ import annotations

import math

import pandas as pd

from clipfed_bench.config.cell_spec import CellSpec

SECONDS = {"local": 8.0, "attack": 1.0, "defense": 4.0, "purify": 3.0, "eval": 2.0}


def cell(mta=0.5, asr=0.5, status="done", tpr=math.nan, fpr=math.nan, seconds=None, error=None, **settings):
    """A row of the results; shares are fractions, ``seconds`` those of the whole cell."""
    spec = CellSpec(**settings)
    row = {"key": spec.key, "status": status, **spec.as_dict()}
    row |= {f"{kind}_name": row[kind].partition("[")[0] for kind in ("attack", "defense")}
    figures = {"mta": mta, "asr": asr, "mta_tail": mta, "asr_tail": asr, "tpr": tpr, "fpr": fpr}
    figures |= {f"seconds_{name}": value for name, value in (seconds or SECONDS).items()}
    if status != "done":
        figures = dict.fromkeys(figures, math.nan)
    facts = {"git_sha": "abc123", "version_torch": "2.11.0", "device": "cpu", "defaults": '{"lr": "lineage"}'}
    return row | figures | {"error": error, "created": "2026-01-02T03:04:05+00:00"} | facts


def frame(*cells):
    """The results of ``cells``."""
    return pd.DataFrame(cells)


def history(results, points):
    """The evaluations of the cells that are done: ``points`` maps a row of the results to {round: (mta, asr)}."""
    rows = []
    for record in results.to_dict("records"):
        if record["status"] == "done":
            own = {"key": record["key"], "seed": record["seed"], "defense": record["defense"]}
            rows += [own | {"round": r, "mta": m, "asr": a} for r, (m, a) in points(record).items()]
    return pd.DataFrame(rows)


def grid(defenses=("fedavg", "krum"), alphas=(0.1, 0.5), attacks=("badnets", "dba"), seeds=(0, 1)):
    """A run in which every number tells its place; krum alone rejects updates."""
    results = frame(
        *(
            cell(
                0.5 + d / 10 + s / 50, 0.9 - d / 2 + a / 50 - s / 50,
                defense=defense, alpha=alpha, attack=attack, seed=s,
                **({"tpr": 0.75, "fpr": 0.25} if defense == "krum" else {}),
            )
            for d, defense in enumerate(defenses)
            for a, attack in enumerate(attacks)
            for alpha in alphas
            for s in seeds
        )
    )  # fmt: skip
    return results, history(results, lambda record: {0: (0.1, 0.0), 10: (record["mta"], record["asr"])})
