"""What workers run for each kind of job. Imports torch: only workers import this module."""

from __future__ import annotations

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment, Report
from clipfed_bench.simulator import shared as setup
from clipfed_bench.simulator.cell import prepare, run_cell, run_prefix, run_warmup

__all__ = ["load_data", "prepare", "run_cell", "run_prefix", "run_warmup"]


def load_data(spec: CellSpec, env: Environment, report: Report) -> None:
    """Find or download the data set and decode it, so that other processes find it in the cache."""
    setup.dataset(spec, env)
