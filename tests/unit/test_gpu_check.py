"""The script for GPUs, on parts that need none: it goes on after what fails, and says what it found."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "gpu" / "check.py"


@pytest.fixture
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    return module


def test_all_parts_fit_into_ten_minutes_and_use_commands_that_exist(check: ModuleType, tmp_path: Path) -> None:
    parts = check.parts(tmp_path)
    assert [part.name for part in parts] == ["tests", "bench", "float32", "bfloat16", "cell"]
    assert sum(part.limit for part in parts) < 600
    from typer.testing import CliRunner

    from clipfed_bench.cli.main import app

    for part in parts[1:]:
        arguments = part.command[part.command.index("clipfed_bench") + 1 :]
        known = CliRunner().invoke(app, [arguments[0], "--help"], env={"COLUMNS": "200"}).output
        assert all(word in known for word in arguments if word.startswith("--"))


def test_a_part_that_fails_does_not_stop_the_others(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def python(code: str) -> list[str]:
        return [sys.executable, "-c", code]

    monkeypatch.setattr(
        check,
        "parts",
        lambda out: [
            check.Part("broken", python("import sys; print('why'); sys.exit(3)"), 30),
            check.Part("slow", python("import time; time.sleep(60)"), 0.5),
            check.Part("fine", python("print('hello')"), 30),
        ],
    )
    monkeypatch.setattr(sys, "argv", ["check.py", str(tmp_path / "out")])
    assert check.main() == 1
    text = capsys.readouterr().out
    assert "part broken: failed with exit status 3" in text
    assert "part slow: stopped after 0.5 s" in text
    assert "part fine: done" in text
    assert (tmp_path / "out" / "broken.log").read_text() == "why\n"


def test_what_it_says_of_results(check: ModuleType, tmp_path: Path) -> None:
    def cells(folder: str, *finals: dict[str, float]) -> None:
        (tmp_path / folder / "cells").mkdir(parents=True)
        for k, final in enumerate(finals):
            (tmp_path / folder / "cells" / f"{k}.json").write_text(json.dumps({"status": "done", "final": final}))

    cells("float32", {"mta": 0.5}, {"mta": 0.7})
    cells("bfloat16", {"mta": 0.52}, {"mta": 0.7})
    cells("cell", {"mta": 0.8, "seconds_local": 100.0, "seconds_defense": 15.0, "seconds_purify": 14.0, "asr": 0.1})
    bench = {
        "machine": {"device_name": "A GPU", "version_torch": "2"},
        "cells_per_gpu": 2,
        "targets": [{"what": "speed", "measured": 3.0, "unit": "x", "bound": 4.0, "at_least": True, "met": False}],
        "aggregations": [{"model": "resnet18", "clients": 100, "defense": "krum", "peak_bytes": 2.5e9}],
    }
    (tmp_path / "bench.json").write_text(json.dumps(bench))
    assert check.findings(tmp_path) == [
        "- A GPU, torch 2",
        "- speed: 3 x (>= 4: MISSED)",
        "- cells per GPU: 2",
        "- K = 100, krum: 2.50 GB beyond the updates",
        "- points by which bfloat16 moves the final MTA, mean of 3 seeds: 1.00 (<= 0.5: MISSED)",
        "- 300 rounds on CIFAR-10-LT, MTA 0.800: 115 s (<= 120: met)",
    ]
