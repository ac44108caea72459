"""What workers run for each kind of job. Imports torch: only workers import this module."""

from __future__ import annotations

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment, Report
from clipfed_bench.simulator.cell import prepare, run_cell
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.prefix import run_prefix
from clipfed_bench.simulator.warmup import run_warmup

__all__ = ["load_data", "prepare", "run_cell", "run_prefix", "run_warmup"]


def load_data(spec: CellSpec, env: Environment, report: Report) -> None:
    """Find or download the data set and decode it, so that other processes find it in the cache."""
    CellSetup(spec, env).data  # noqa: B018
