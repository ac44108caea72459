"""Two kills of a small grid at random moments; ``make faults`` does thirty of a larger one."""

from __future__ import annotations

import harness

from clipfed_bench.cli.options import choose_axes
from clipfed_bench.config.grid import make_grid
from clipfed_bench.core.messages import Environment
from clipfed_bench.runs.store import RunStore
from clipfed_bench.simulator.cell import run_cell


def test_a_grid_that_is_killed_again_and_again_comes_to_what_it_would_have_come_to(tmp_path):
    cells = make_grid(choose_axes(harness.SMALL, scale="cpu")).cells
    alone = RunStore(tmp_path / "alone")
    for cell in cells:
        alone.put(cell, run_cell(cell, Environment(warmup_dir=tmp_path / "warmups")))
    said: list[str] = []
    torment = harness.Torment(tmp_path, harness.SMALL, alone.frames(), kills=2, seed=3, workers=(1,), say=said.append)
    tally = torment.go()
    assert sum(tally.kills.values()) == 2
    assert tally.runs >= 2
    assert said[-1].endswith("is done, and equal to the one that was left alone")


def test_only_python_may_complain_and_only_where_a_parent_was_killed_while_it_started_a_worker():
    begin = 'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n'
    begin += '  File "multiprocessing/spawn.py", line 122, in spawn_main\n    exitcode = _main(fd, parent_sentinel)\n'
    orphaned = begin + "EOFError: Ran out of input\n"
    ours = begin + '  File "clipfed_bench/execution/local.py", line 9, in _serve\n' + "EOFError: Ran out of input\n"
    assert harness.ORPHANED.sub("", f"before\n{orphaned}after\n") == "before\nafter\n"
    for other in (ours, begin + "ValueError: wrong\n"):
        assert harness.ORPHANED.sub("", other) == other
