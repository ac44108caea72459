"""The example package of tests/plugin: installed as any user would, used by the command line, and removed again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugin"


def _python(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


def _calls(*commands: Sequence[str], env: dict[str, str], cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """What the command line does with each of ``commands``, one after the other in one process that has the package."""
    script = "import json, sys\nfrom pathlib import Path\nfrom terminal import cli\n"
    script += "done = [cli(*command, cwd=Path.cwd()) for command in json.loads(sys.argv[1])]\n"
    script += "print(json.dumps([[one.args, one.returncode, one.stdout, one.stderr] for one in done]))"
    env = env | {"PYTHONPATH": os.pathsep.join((env["PYTHONPATH"], str(ROOT / "tests")))}
    done = _python("-c", script, json.dumps(commands), env=env, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [subprocess.CompletedProcess(*one) for one in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path]]:
    """The variables under which the package is installed, and a working folder; the repository is not written to."""
    place = tmp_path_factory.mktemp("plugin")
    source, site, work = place / "source", place / "site", place / "work"
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    work.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "CLIPFED_BENCH_CACHE": str(place / "cache")}
    pip = "-m pip install --quiet --no-index --no-deps --no-build-isolation --disable-pip-version-check --target"
    done = _python(*pip.split(), str(site), str(source), env=env, cwd=place)
    assert done.returncode == 0, done.stderr
    yield env | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}, work
    shutil.rmtree(site)
    gone = _python("-m", "clipfed_bench", "list", "attacks", env=env, cwd=work)
    assert gone.returncode == 0
    assert "checkerboard" not in gone.stdout


def test_its_own_tests_and_the_contract(environment: tuple[dict[str, str], Path]) -> None:
    env, work = environment
    quiet = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    own = _python(*quiet, str(work.parent / "source" / "tests"), env=env, cwd=work)
    assert own.returncode == 0, own.stdout + own.stderr
    contract = ("-k", "checkerboard", "tests/contract/test_attack_contract.py")
    done = _python(*quiet, *contract, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_listed(environment: tuple[dict[str, str], Path]) -> None:
    env, work = environment
    expected = {
        "attacks": ("checkerboard", "Checkerboard: a small board", "size=4  Side of the board, pixels [ours]."),
        "defenses": ("geometric-median", "smoothing=1e-06"),
        "models": ("two-layers", "width=200  Units of each layer", "lr=0.1"),
        "metrics": ("robust_accuracy", "Robust accuracy: share of triggered test images"),
        "executors": ("in-turn", "In turn: jobs one after the other", "steps=true", "local\n", "submitit\n"),
        "partitions": ("label-quota", "classes=2  k, the classes that each client holds"),
        "datasets": (
            "shapes\n",
            "Shapes: gray disks, squares",
            "shapes-lt\n",
            "shapes with a long-tailed training split",
        ),
    }
    listed = _calls(*(["list", kind] for kind in expected), env=env, cwd=work)
    for done, texts in zip(listed, expected.values(), strict=True):
        assert done.returncode == 0
        assert done.stderr == ""
        assert all(text in done.stdout for text in texts), done.stdout


def test_a_grid(environment: tuple[dict[str, str], Path]) -> None:
    """All of them at once, a long tail and the data set's own server data; the data's content is in the provenance."""
    env, work = environment
    chosen = "--dataset shapes,shapes-lt --imbalance-factor none --attack checkerboard[size=3] --rounds 1"
    chosen += (
        " --model two-layers[width=16] --partition label-quota[classes=3] --defense fedavg,geometric-median,fltrust"
    )
    chosen += " --clients 8 --clients-per-round 4 --min-samples 5 --executor in-turn"
    command = ("-m", "clipfed_bench", "grid", "--preset", "smoke", *chosen.split(), "--device", "cpu")
    done = _python(*command, "--workers", "1", "--quiet", "--out", "run", env=env, cwd=work)
    assert done.returncode == 0, done.stdout + done.stderr
    results = pd.read_parquet(work / "run" / "results.parquet")
    assert sorted(results["defense"].unique()) == ["fedavg", "fltrust", "geometric-median"]
    assert set(results["attack"]) == {"checkerboard[size=3]"}
    assert set(results["partition"]) == {"label-quota[classes=3]"}
    assert results["alpha"].isna().all()
    assert set(results["model"]) == {"two-layers[width=16]"}
    assert set(results["dataset"]) == {"shapes", "shapes-lt"}
    assert (results["status"] == "done").all()
    assert results["mta"].between(0, 1).all()
    assert (results["robust_accuracy"] <= 1 - results["asr"]).all()
    assert "robust_accuracy" in pd.read_parquet(work / "run" / "history.parquet")
    assert set(results["server_data"].dropna()) == {"shapes-generated"}
    sources = set(results["data_source"])
    assert len(sources) == 1
    assert next(iter(sources)).startswith("plug-in clipfed_example.datasets.shapes, sha256 ")


def test_mistakes_are_explained(environment: tuple[dict[str, str], Path]) -> None:
    env, work = environment
    expected = {
        ("--executor", "in-trun"): "Did you mean 'in-turn'?",
        ("--dataset", "shpaes"): "Did you mean 'shapes'?",
        ("--dataset", "shapes", "--target", "5"): "5 is not a class of shapes; it goes from 0 to 3",
        ("--dataset", "shapes", "--server-data", "cifar10-generated", "--defense", "fltrust"): "shapes-generated",
        (
            "--dataset",
            "digits",
            "--server-data",
            "shapes-generated",
            "--defense",
            "fltrust",
        ): "other classes than digits",
        ("--dataset", "shapes", "--imbalance-factor", "3"): "needs shapes-lt",
        ("--dataset", "shapes", "--clients", "100"): "shapes has 240 to train on",
        ("--attack", "checkerboard[size=x]"): "'x' is not a whole number",
        ("--dataset", "shapes", "--partition", "label-quota[classes=5]"): "5 classes for each of",
        ("--dataset", "shapes", "--partition", "natural"): "shapes does not say who made its images",
    }
    grids = (["grid", "--dry-run", "--preset", "smoke", *arguments] for arguments in expected)
    show = ["data", "show", "shapes-lt", "--clients", "4", "--partition", "label-quota"]
    *wrong, shown = _calls(*grids, show, env=env, cwd=work)
    for done, words in zip(wrong, expected.values(), strict=True):
        assert done.returncode == 2, done
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    assert shown.returncode == 0, shown.stderr
    assert "diamond" in shown.stdout
    assert (work / "shapes-lt-label-quota-classes-2.png").is_file()


def test_the_teacher_learns_its_classes(environment: tuple[dict[str, str], Path]) -> None:
    """The names of the classes and the data set's own captions reach the teacher."""
    env, work = environment
    train = ("teacher", "train", "--dataset", "shapes", "--out", "t.safetensors", "--epochs", "1", "-o", "width=8")
    done = _python("-m", "clipfed_bench", *train, env=env, cwd=work)
    assert done.returncode == 0, done.stderr
    facts = json.loads((work / "t.train.json").read_text())
    assert facts["classes"] == ["disk", "square", "diamond", "cross"]


def test_nothing_is_left_in_the_repository() -> None:
    made = {path.name for path in PLUGIN.rglob("*")} & {"build", "dist"}
    assert not made
    assert not list(PLUGIN.rglob("*.egg-info"))
