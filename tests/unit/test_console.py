"""Tables in files, pipes and logs are as wide as they are; on a terminal they fit it."""

from __future__ import annotations

import io
import sys

import pytest
from makers.frames import cell, frame
from rich.table import Table
from rich.text import Text

from clipfed_bench import report
from clipfed_bench.core.console import new_console
from clipfed_bench.report.formats.terminal import screen

DEFENSES = ("fedavg", "krum", "multi-krum", "median", "trimmed-mean", "flame", "foolsgold", "rlr", "deepsight")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(monkeypatch, file, **environment):
    for name in ("COLUMNS", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", file)
    new_console().print(screen(report.sheet(frame(*(cell(defense=name) for name in DEFENSES)), decimals=1)))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}, {"FORCE_COLOR": "1", "TERM": "dumb"}], ids=str)
def test_a_wide_table_in_a_log_is_in_one_piece(monkeypatch, environment):
    lines = printed(monkeypatch, io.StringIO(), **environment)
    (head,) = (line for line in lines if "trimmed-mean" in line)
    assert {name.strip() for name in head.split("┃")} > set(DEFENSES)
    (row,) = (line for line in lines if "badnets" in line)
    assert row.count("50.0 / 50.0") == len(DEFENSES)
    assert all(line == line.rstrip() or len(line) <= len(head) for line in lines)
    assert any(line.strip().startswith("All cells: ") and len(line) > 200 for line in lines)


def test_a_width_that_is_given_and_a_terminals_are_kept_to(monkeypatch):
    for file, width in ((io.StringIO(), "60"), (Terminal(), "70")):
        lines = printed(monkeypatch, file, COLUMNS=width)
        assert max(Text.from_ansi(line).cell_len for line in lines) <= int(width)


def test_an_option_in_brackets_is_text(capsys):
    """Rich would take it for the name of a style, and leave it out."""
    table = Table("defense")
    table.add_row("krum[malicious=0.3]")
    new_console().print(table, "pip install 'clipfed-bench[lit]'")
    shown = capsys.readouterr().out
    assert "krum[malicious=0.3]" in shown
    assert "clipfed-bench[lit]" in shown
