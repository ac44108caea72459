"""The tables of bad input are as long as they are meant to be."""

from __future__ import annotations

import importlib
from math import prod

import pytest

LEAST = {
    "test_bad_invocations": 100,
    "test_bad_reports": 50,
    "test_bad_configs": 50,
    "test_bad_data": 50,
    "test_bad_server_data": 20,
    "test_bad_teachers": 40,
    "test_bad_plugins": 40,
    "test_bad_datasets": 30,
    "test_bad_runs": 60,
    "test_bad_checkpoints": 50,
}
"""Module -> lines of its tables at least."""


def lines(module: str) -> int:
    """Cases of the parametrized tests of ``module``."""
    tests = (test for name, test in vars(importlib.import_module(module)).items() if name.startswith("test_"))
    marks = ([m for m in getattr(test, "pytestmark", []) if m.name == "parametrize"] for test in tests)
    return sum(prod(len(mark.args[1]) for mark in found) for found in marks if found)


@pytest.mark.parametrize("module", LEAST)
def test_every_table_has_its_lines(module: str) -> None:
    assert lines(module) >= LEAST[module]


def test_there_are_at_least_a_hundred_cases() -> None:
    assert sum(map(lines, LEAST)) >= 100
