"""What ``clipfed-bench bench`` does with its options: measure, show, and write."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from benchmarks import text
from benchmarks.run import Request, measure
from clipfed_bench.core.files import write_atomically
from clipfed_bench.execution.gpu import keep_cells_at_a_time
from clipfed_bench.report.formats.markdown import markdown
from clipfed_bench.report.formats.terminal import show


def bench(request: Request, json_path: Path | None, markdown_path: Path | None) -> None:
    """Show the tables of ``request``, write what has a path, and keep how many cells a GPU takes at a time."""
    log = Console(stderr=True, highlight=False)
    result = measure(request, lambda what: log.print(f"measuring {what}", style="dim", soft_wrap=True))
    tables = text.sections(result)
    show(*tables)
    if result["cells_per_gpu"] is not None:
        keep_cells_at_a_time(result["machine"]["device_name"], result["cells_per_gpu"])
    if json_path is not None:
        write_atomically(json_path, (json.dumps(result, indent=1) + "\n").encode())
    if markdown_path is not None:
        write_atomically(markdown_path, markdown(*tables).encode())
