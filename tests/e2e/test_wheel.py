"""A wheel that is installed far from any checkout: a method that is corrected there makes its old cells stale."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

GRID = """
import attacks
from pathlib import Path
from clipfed_bench.config.cell_spec import CellSpec
from watching import fake_session, run

assert Path(attacks.__file__).parent.parent.name == "site", attacks.__file__
given = {"dataset": "digits", "model": "cnn", "warmup_rounds": 0, "seed": 20}
cells = [CellSpec(**given, attack=name) for name in ("badnets", "blend")]
session = fake_session(cells, Path("run"))
heard = run(session)
print(heard.stock.done, heard.stock.stale)
"""


def test_a_corrected_method_makes_its_old_cells_stale(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    for name in ("clipfed_bench", "attacks", "baselines", "partitions", "architectures", "data_sets", "results"):
        left = ("__pycache__", "runs" if name == "results" else "")
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*left))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    env = {**os.environ, "CLIPFED_BENCH_CACHE": str(tmp_path / "cache")}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (site, ROOT / "tests", ROOT / "tests" / "unit")))
    pip = "-m pip install --quiet --no-index --no-deps --no-build-isolation --disable-pip-version-check --target"

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    python(*pip.split(), str(site), str(source))
    shutil.rmtree(source)
    assert python("-c", GRID) == "0"
    badnets = site / "attacks" / "badnets.py"
    badnets.write_text("# Only a comment.\n" + badnets.read_text())
    assert python("-c", GRID) == "2"
    mended = badnets.read_text().replace("self.config.value)", "1.0 - self.config.value)")
    assert mended != badnets.read_text()
    badnets.write_text(mended)
    said = "1 1 of 2 cells are stale: attack badnets changed (1). They are computed anew, unless with --keep-stale."
    assert python("-c", GRID) == said
    assert python("-c", GRID) == "2"
