"""What is shown of a running grid, from made-up events and a made-up clock."""

from __future__ import annotations

import io
from functools import partial

import makers.specs
import pytest
from rich.console import Console

from clipfed_bench.cli.progress import LiveDisplay, PlainDisplay, Reasons, clock, render, summary
from clipfed_bench.config.words import telling
from clipfed_bench.core.messages import CellResult, Progress
from clipfed_bench.execution.board import Board, label
from clipfed_bench.execution.jobs import Event, Failure, Job, plan

cell = partial(makers.specs.cell, rounds=30)


class Clock:
    time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def run():
    """Warm-up, two cells, expected to take 10, 30 and 60 seconds; one cell of three was done before."""
    now = Clock()
    jobs = plan([cell(warmup_rounds=1, attack=a) for a in ("badnets", "dba")])
    board = Board(dict(zip([j.id for j in jobs], (10.0, 30.0, 60.0), strict=True)), cells=3, done=1, now=now)
    return now, board, jobs


def tell(board, show, *events):
    for event in events:
        board.handle(event)
        show(event)


def screen(board, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in render(board, width):
        console.print(part)
    return console.file.getvalue()


def played(stage, done, total, *figures):
    """A report of a round that was played, as a simulator gives it."""
    return Progress(stage, done, total, *figures, computed={"round": 1})


def test_share_and_time_left_follow_the_expected_seconds(run):
    now, board, (warmup, first, second) = run
    assert (board.share, board.left) == (0.0, None)
    board.handle(Event("started", warmup))
    now.time = 20
    board.handle(Event("step", warmup, step=played("warmup", 1, 1)))
    board.handle(Event("done", warmup))
    assert board.share == pytest.approx(0.1)
    assert board.left == pytest.approx(2.0 * 90)
    for job in (first, second):
        board.handle(Event("started", job))
    assert board.left == pytest.approx(2.0 * 60), "two are at it, and neither can be split"
    board.handle(Event("step", first, step=played("round", 1, 30)))
    now.time = 40
    board.handle(Event("step", first, step=played("round", 10, 30, 0.5, 0.25)))
    board.handle(Event("step", second, step=Progress("warmup", 1, 2)))  # before its first round: counts for nothing
    assert board.share == pytest.approx(0.2)
    assert board.left == pytest.approx(2.0 * 60)
    board.handle(Event("done", first, outcome=CellResult([], {}, {})))
    assert (board.done, board.failed) == (2, 0)
    board.handle(Event("failed", second, failure=Failure("no", "")))
    assert (board.done, board.failed, board.left, board.running) == (2, 1, 0.0, {})
    assert summary(board) == "2 of 3 cells are done, 1 failed; this run took 0:40."


def test_what_was_there_says_nothing_of_the_time_that_is_left(run):
    """A warm-up that is found takes no time: counted as work, it would make all the rest look short."""
    now, board, (warmup, first, _) = run
    board.jobs[warmup.id] = 900.0
    for job in (warmup, first):
        board.handle(Event("started", job))
        if job is warmup:
            now.time = 4
            board.handle(Event("done", job))
    assert (board.share, board.left) == (0.0, None)
    now.time = 5
    board.handle(Event("step", first, step=Progress("round", 20, 30, note="goes on after round 20")))
    assert (board.share, board.left) == (0.0, None)
    now.time = 24
    board.handle(Event("step", first, step=played("round", 25, 30)))
    assert board.share == pytest.approx(5 / 70), "ten rounds of thirty seconds for thirty, and the second cell's sixty"
    assert board.left == pytest.approx(20 / 5 * 65)
    board.handle(Event("done", first, outcome=CellResult([], {}, {})))
    assert board.share == pytest.approx(10 / 70)


def test_rounds_that_cells_share_are_none_of_a_cell():
    now = Clock()
    jobs = plan([cell(attack=a, attack_start=21, warmup_rounds=0) for a in ("badnets", "dba")])
    assert [job.stage for job in jobs] == ["prefix", "cell", "cell"]
    board = Board({job.id: 10.0 for job in jobs}, cells=2, now=now)
    for job in jobs[:2]:
        board.handle(Event("started", job))
    now.time = 10
    board.handle(Event("step", jobs[1], step=played("round", 21, 30)))
    assert board.share == pytest.approx(1 / 30)


def test_images_that_a_teacher_looks_at_are_shown_and_are_no_measure_of_its_work(run):
    now, board, _ = run
    job = plan([cell(defense="clip-fed", teacher="local", warmup_rounds=0)])[0]
    assert job.stage == "teacher"
    board.jobs = {job.id: 100.0}
    board.handle(Event("started", job))
    now.time = 30
    for done in (0, 50):
        board.handle(Event("step", job, step=Progress("teacher", done, 100)))
    assert (board.share, board.left) == (0.5, 30.0)
    for done in (14, 1000):  # the first of two sets of images
        board.handle(Event("step", job, step=Progress("features", done, 1000)))
        assert board.running[job.id].position == f"features {done}/1000"
        assert (board.share, board.left) == (0.5, 30.0)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_live_lines_fit_and_show_what_matters(run, width):
    now, board, (warmup, first, second) = run
    for job in (warmup, first, second):
        board.handle(Event("started", job))
    now.time = 75
    for done in (1, 15):
        board.handle(Event("step", first, step=played("round", done, 30, 0.4321, 0.987)))
    lines = screen(board, width).splitlines()
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines)
    assert "1/3 cells" in lines[0]
    assert "1:15" in lines[0]
    assert "about 5:00 left" in " ".join(lines[0].split())
    assert lines[1].startswith("warm-up digits α=0.5")
    assert "starting" in lines[1]
    assert lines[2].startswith("digits α=0.5 badnets")
    assert "round 15/30" in lines[2]
    assert "MTA  43.2" in lines[2]
    assert "ASR  98.7" in lines[2]
    assert ("seed 0" in lines[2]) == (width >= 80)


def test_plain_lines_have_one_event_each_and_no_control_characters(run):
    now, board, (warmup, first, second) = run
    lines: list[str] = []
    with PlainDisplay(board, lines.append) as show:
        tell(board, show, Event("started", warmup))
        now.time = 10
        tell(board, show, Event("done", warmup, seconds=10), Event("started", first))
        tell(board, show, Event("step", first, step=played("round", 1, 30, 0.1, 0.2)))
        now.time = 40
        done = CellResult([], {"mta": 0.5, "asr": 1.0}, {})
        tell(board, show, Event("done", first, outcome=done, seconds=30))
        tell(board, show, Event("failed", second, failure=Failure("it broke:\n in the middle", "")))
    assert lines == [
        "[1/3] started  warm-up digits α=0.5 seed 0",
        "[1/3] done     warm-up digits α=0.5 seed 0: in 10.0 s",
        "[1/3] started  digits α=0.5 badnets fedavg seed 0",
        "[2/3] done     digits α=0.5 badnets fedavg seed 0: MTA 50.0 ASR 100.0 in 30.0 s, about 1:00 left",
        "[3/3] failed   digits α=0.5 dba fedavg seed 0: it broke:\n     in the middle",
        "2 of 3 cells are done, 1 failed; this run took 0:40.",
    ]
    assert all(part.isprintable() for line in lines for part in line.split("\n"))


def test_another_try_and_notes_are_lines(run):
    _, board, (_, first, _) = run
    lines: list[str] = []
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    noted = Event("step", first, step=Progress("round", 12, 30, 0.5, 0.1, note="goes on after round 12"))
    retried = Event("retried", first, failure=Failure("no memory", ""))
    with PlainDisplay(board, lines.append) as show:
        tell(board, show, Event("started", first), noted, retried)
    with LiveDisplay(board, console) as show:
        tell(board, show, Event("started", first), noted, retried)
    name = "digits α=0.5 badnets fedavg seed 0"
    assert lines[1:-1] == [f"{name}: goes on after round 12", f"[1/3] retried  {name}: no memory"]
    for line in (f"{name}: goes on after round 12", f"retried {name}: no memory"):
        assert line in console.file.getvalue()
    assert board.failed == 0


def test_rounds_are_lines_when_asked_for(run):
    _, board, (_, first, _) = run
    lines: list[str] = []
    steps = Progress("teacher", 2, 9), Progress("round", 3, 30, 0.5, None)
    with PlainDisplay(board, lines.append, rounds=True) as show:
        tell(board, show, Event("started", first), *(Event("step", first, step=step) for step in steps))
    assert [line.rpartition(": ")[2] for line in lines[1:-1]] == ["teacher 2/9", "round 3/30  MTA 50.0  ASR –"]


def test_updates_that_were_dropped_are_said_in_every_line_of_progress(run):
    _, board, (_, first, _) = run
    lines: list[str] = []
    step = Event("step", first, step=Progress("round", 3, 30, 0.5, 0.1, dropped=7))
    final = CellResult([], {"mta": 0.5, "asr": 0.0, "dropped": 12.0}, {})
    with PlainDisplay(board, lines.append, rounds=True) as show:
        tell(board, show, Event("started", first), step)
        assert "round 3/30, 7 updates dropped" in screen(board, 100)
        tell(board, show, Event("done", first, outcome=final, seconds=3))
    assert lines[1].endswith(": round 3/30  MTA 50.0  ASR 10.0 (7 updates not finite, dropped)")
    assert lines[2].endswith(": MTA 50.0 ASR 0.0 (12 updates not finite, dropped) in 3.0 s")


def test_live_display_keeps_failures_and_a_summary_on_the_screen(run):
    _, board, (_, first, _) = run
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with LiveDisplay(board, console) as show:
        tell(board, show, Event("started", first))
        tell(board, show, Event("failed", first, failure=Failure("[bold]odd[/bold] text", "")))
    text = console.file.getvalue()
    assert "failed digits α=0.5 badnets fedavg seed 0: [bold]odd[/bold] text" in text
    assert "1 of 3 cells are done, 1 failed" in text


def test_labels_show_only_what_is_needed_to_tell_cells_apart():
    teachers = [cell(defense=d, teacher=None) for d in ("fedavg", "clip-fed")]
    assert telling(teachers) == []
    shares = [cell(malicious=m, rounds=r) for m in (0.2, 0.4) for r in (10, 20)]
    assert telling(shares) == ["malicious", "rounds"]
    spec = shares[0]
    assert (
        label(Job(spec.key, "cell", spec), telling(shares))
        == "digits α=0.5 badnets fedavg malicious=0.2 rounds=10 seed 0"
    )
    spread = [cell(partition="degree", degree=0.4), cell(partition="iid")]
    assert [label(Job("", "cell", s)).split()[1] for s in spread] == ["q=0.4", "iid"]


def test_clock():
    assert [clock(s) for s in (0, 59.6, 75, 3600, 36_061)] == ["0:00", "1:00", "1:15", "1:00:00", "10:01:01"]


def test_a_job_without_a_reason_lends_none_to_others(run):
    _, _, (_, first, second) = run
    reasons = Reasons()
    assert reasons.told("first", Event("failed", first)) == ""
    assert reasons.told("second", Event("failed", second, failure=Failure("it broke", ""))) == "it broke"
    assert (
        reasons.told("third", Event("failed", second, failure=Failure("for want of it: it broke", ""))) == "as second"
    )
