"""The script for Slurm in docs/scaling.md, with an ``srun`` that runs everything on this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from test_cli_grid import ROOT, cells

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

SRUN = """#!/bin/bash
echo "$@" >> "$SRUN_LOG"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""


def recipe(port: int) -> str:
    """The script, for a small grid, with a port that is free and without an environment to activate."""
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", (ROOT / "docs/scaling.md").read_text(), re.DOTALL)
    changes = {
        r"^source .*$": "",
        r"\b6379\b": str(port),
        r"^clipfed-bench grid --dataset \S+": f"{sys.executable} -m clipfed_bench grid --preset smoke --rounds 1",
        r"--out \S+ --data-dir \S+": "--out run",
    }
    for pattern, text in changes.items():
        script, count = re.subn(pattern, text, script, flags=re.MULTILINE)
        assert count, pattern
    return script


def test_the_script_for_slurm_starts_a_head_and_other_nodes_and_the_grid(tmp_path):
    pytest.importorskip("ray")
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    srun, log = tmp_path / "bin" / "srun", tmp_path / "srun.log"
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    folder = tempfile.mkdtemp(prefix="ray")  # short: the paths of sockets are in it
    environment = os.environ | {
        "PATH": os.pathsep.join([str(srun.parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "RAY_TMPDIR": folder,
        "SRUN_LOG": str(log),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_NNODES": "2",
    }
    process = subprocess.Popen(
        ["bash", "-c", recipe(port)],
        cwd=tmp_path,
        env=environment,
        stdout=(tmp_path / "out").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        code = process.wait(timeout=300)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # Slurm does it when the script has ended
        shutil.rmtree(folder, ignore_errors=True)
    assert code == 0, (tmp_path / "out").read_text()
    assert len(cells(tmp_path / "run")) == 4
    host = socket.gethostname()
    head, other = log.read_text().splitlines()
    assert f"--nodes=1 --ntasks=1 --nodelist={host} ray start --head --port={port} " in head
    assert (
        f"--nodes=1 --ntasks=1 --exclude={host} ray start --address={host}:{port} --num-cpus=1 --num-gpus=0 " in other
    )
