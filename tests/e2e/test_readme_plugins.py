"""The README's attack, taken from it word for word, as a package of somebody else's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _blocks() -> dict[str, str]:
    """File name -> Python code, as the README gives them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"`attacks/(\w+\.py)`:\n\n```python\n(.*?)```", text, flags=re.DOTALL))


def _install(folder: Path) -> dict[str, str]:
    """What ``pip install`` would leave behind, and the environment that finds it."""
    blocks = _blocks()
    assert set(blocks) == {"stripe.py"}
    package = folder / "their_attacks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "stripe.py").write_text(blocks["stripe.py"], encoding="utf-8")
    info = folder / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[clipfed_bench.attacks]\ntheirs = their_attacks\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "COLUMNS": "100"}


def _cli(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clipfed_bench", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)


def test_one_file_is_all_it_takes(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    env = _install(site)
    listed = _cli("list", "attacks", env=env).stdout
    assert "Stripe: a white column at the left edge." in listed
    assert "width=2" in listed
    out = tmp_path / "run"
    chosen = ("--attack", "stripe[width=3]", "--defense", "fedavg", "--rounds", "1")
    done = _cli("grid", "--preset", "smoke", *chosen, "--out", str(out), env=env)
    assert done.returncode == 0, done.stderr
    cells = [json.loads(path.read_text()) for path in (out / "cells").glob("*.json")]
    assert sorted(cell["spec"]["defense"] for cell in cells) == ["fedavg"]
    assert {cell["spec"]["attack"] for cell in cells} == {"stripe[width=3]"}


def test_a_wrong_option_of_theirs_is_a_clean_error(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    out = tmp_path / "run"
    wrong = _cli("grid", "--preset", "smoke", "--attack", "stripe[widht=3]", "--out", str(out), env=_install(site))
    assert wrong.returncode == 2
    assert "width" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert not out.exists()
