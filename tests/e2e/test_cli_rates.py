"""One grid with a small poisoning ratio, a malicious share between tenths, and a learning rate at which all is NaN."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from terminal import cli

GRID = (
    *("grid", "--preset", "smoke", "--workers", "1", "--device", "cpu", "--out", "run", "--rounds", "2"),
    *("--attack", "none,badnets", "--target", "5", "--poison-ratio", "0.03", "--defense", "fedavg"),
    *("--clients-per-round", "10", "--malicious", "0.25", "--warmup-rounds", "0", "--lr", "0.05,1e6"),
)


def test_what_is_called_an_attack_is_one_and_what_diverged_has_no_number(tmp_path: Path) -> None:
    done = cli(*GRID, cwd=tmp_path, columns=200)
    assert done.returncode == 1
    assert "lr=1e+06 seed 0 and 1 other: training has diverged: " in " ".join(done.stderr.split())
    results = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert results.groupby("lr")["status"].unique().map(list).to_dict() == {0.05: ["done"], 1e6: ["failed"]}
    assert results.loc[results["lr"] == 1e6, ["mta", "asr", "tpr", "fpr"]].isna().all(axis=None)
    history = pd.read_parquet(tmp_path / "run" / "history.parquet").pivot(index="round", columns="attack", values="mta")
    assert history.loc[0, "none"] == history.loc[0, "badnets"]
    assert (history["none"] != history["badnets"])[1:].any(), "less than one image of a batch is poisoned, now and then"
    attackers = results.set_index(["attack", "lr"])["attackers"]
    assert attackers["badnets", 0.05] == 2.5
    assert pd.isna(attackers["none", 0.05])
    assert cli("report", "run", "--out", "page.html", cwd=tmp_path).returncode == 0
    files = [tmp_path / name for name in ("run/table.md", "run/table.tex", "page.html")]
    for text in (done.stdout, *(file.read_text() for file in files)):
        assert "Attackers: 5 of 20 clients, 2.50 of 10 a round on average." in text
        assert "2 of 4 cells failed." in text
