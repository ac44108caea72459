"""The command line in the process of the test, which has imported what takes seconds, and has a nursery for workers.

What is about processes (signals, what is imported) needs one of its own.
"""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from clipfed_bench.cli.main import main


def cli(*arguments: object, cwd: Path | None = None, columns: int = 120) -> subprocess.CompletedProcess[str]:
    """What ``clipfed-bench`` does with ``arguments`` in the folder ``cwd``, where its cache is then, too.

    What it raises beyond its own errors comes through: that would be a traceback.
    """
    command, code = ["clipfed-bench", *map(str, arguments)], 0
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        if cwd is not None:
            patch.chdir(cwd)
            patch.setenv("CLIPFED_BENCH_CACHE", str(cwd / "cache"))
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "argv", command)
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
