"""Forked workers: what they share, what is their own, how they end, and when they are spawned instead."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing import Pipe

import pytest

from clipfed_bench.execution import processes
from clipfed_bench.execution.nursery import Forked, Nursery

MODULE = "import os\nprint('printed by a library')\nPID = os.getpid()\nTHREADS = os.environ['OMP_NUM_THREADS']\n"


def tell(connection, *more):
    """A child that says what it shares, and what is its own."""
    import shared_by_children as shared

    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    own = (os.environ.get("CLIPFED_BENCH_GREETING"), os.getcwd(), blocked, more)
    connection.send((shared.PID, shared.THREADS, os.getppid(), *own))


def end(connection, how):
    """A child that ends with this status, or of this exception, or waits for a signal."""
    if isinstance(how, BaseException):
        raise how
    if how is not None:
        sys.exit(how)
    connection.send("here")
    time.sleep(60)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The file of a module that children share."""
    path = tmp_path / "shared_by_children.py"
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(processes, "_kept", [])
    monkeypatch.setattr(processes, "_unfit", set())
    yield path
    for nursery in processes._kept:
        nursery.end()


def start(serve, *more):
    ours, theirs = Pipe()
    child = processes.start(serve, theirs, *more, share=["shared_by_children"])
    theirs.close()
    return child, ours


def test_children_share_what_is_imported_and_have_the_environment_of_their_own_start(module, monkeypatch, capfd):
    said = []
    for greeting in ("one", "two"):
        monkeypatch.setenv("CLIPFED_BENCH_GREETING", greeting)
        (module.parent / greeting).mkdir()
        monkeypatch.chdir(module.parent / greeting)
        child, ours = start(tell, greeting)
        said.append((*ours.recv(), child.pid))
        child.join()
        assert child.exitcode == 0
    (nursery,) = processes._kept
    assert {line[:3] for line in said} == {(nursery.pid, "1", nursery.pid)}
    for word, line in zip(("one", "two"), said, strict=True):
        assert line[3:7] == (word, str(module.parent / word), True, (word,))
    assert said[0][-1] != said[1][-1]
    assert "printed" not in "".join(capfd.readouterr())


def test_how_a_child_ends(module, capfd):
    assert [finished(start(end, how)[0]) for how in (3, ValueError("numbers do not fit"))] == [3, 1]
    assert "ValueError: numbers do not fit" in capfd.readouterr().err
    for stop, code in ((Forked.terminate, -signal.SIGTERM), (Forked.kill, -signal.SIGKILL)):
        child, ours = start(end, None)
        assert ours.recv() == "here"
        child.join(timeout=0.01)
        assert (child.is_alive(), child.exitcode) == (True, None)
        stop(child)
        assert finished(child) == code
        stop(child)  # it is gone, and nobody else is hit
        with pytest.raises(EOFError):
            ours.recv()


def finished(child):
    child.join()
    assert not child.is_alive()
    return child.exitcode


def test_a_nursery_is_used_again_as_long_as_it_is_what_a_new_one_would_be(module, monkeypatch):
    other = module.with_name("other_module.py")
    other.write_text("")
    nursery = Nursery([module.stem, other.stem], {"OMP_NUM_THREADS": "1"}, processes._spawn)
    try:
        assert nursery.will_do([module.stem])
        assert not nursery.will_do([module.stem, "one_more"])
        with monkeypatch.context() as patch:
            patch.setenv("CLIPFED_BENCH_DATA", "elsewhere")
            assert nursery.will_do([module.stem])
            patch.setenv("MKL_NUM_THREADS", "7")
            assert not nursery.will_do([module.stem])
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [*sys.path, "elsewhere"])
            assert not nursery.will_do([module.stem])
        assert nursery.will_do([module.stem])
        other.write_text("CHANGED = True")
        assert not nursery.will_do([module.stem])
        other.write_text("")
        assert nursery.will_do([module.stem])
    finally:
        nursery.end()
    assert not nursery.will_do([module.stem])


@pytest.mark.parametrize(
    "fault", ["os.kill(PID, 9)", "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"]
)
def test_where_forking_is_not_possible_or_not_safe_they_are_spawned(module, fault):
    module.write_text(f"{MODULE}{fault}\n")
    child, ours = start(end, None)
    assert ours.recv() == "here"
    assert not isinstance(child, Forked)
    child.kill()
    assert finished(child) == -signal.SIGKILL
    assert processes._unfit == {frozenset([module.stem])}


def test_a_nursery_that_was_killed_is_replaced_and_its_children_can_be_ended(module):
    child, ours = start(end, None)
    assert ours.recv() == "here"
    (nursery,) = processes._kept
    os.kill(nursery.pid, signal.SIGKILL)
    nursery._process.join()
    assert child.is_alive()
    other, ours = start(tell)
    assert isinstance(other, Forked)
    assert ours.recv()[2] == processes._kept[0].pid != nursery.pid
    child.kill()
    assert finished(child) == 255, "nobody can tell any more"


def test_a_copy_of_the_process_leaves_the_nursery_alone(module):
    start(tell)[1].recv()
    (nursery,) = processes._kept
    if (copy := os.fork()) == 0:
        try:
            nursery.end()
        finally:
            os._exit(int(nursery.will_do(nursery.modules)))
    assert os.waitpid(copy, 0)[1] == 0
    assert nursery.will_do(nursery.modules)
