"""Memory that is freed stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment
from clipfed_bench.execution import allocator, worker
from clipfed_bench.execution.jobs import Job

FAULTS = """
import resource, sys
from clipfed_bench.execution.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
block = 12 * 2**20
for _ in range(3):
    bytearray(block), bytearray(block)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    held = [bytearray(block) for _ in range(5)]  # as the activations of a step
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_pages_are_used_again():
    pages = 60 * 2**20 // 4096
    assert faults("keep") < 2 * pages  # fresh once
    assert faults("usual") > 10 * pages


LEFT = """
from clipfed_bench.execution.allocator import keep_freed_memory, return_freed_memory
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024
keep_freed_memory()
before, blocks = resident(), [b"x" * 12 * 2**20 for _ in range(20)]
del blocks
kept = resident() - before
return_freed_memory()
print(kept, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_it_is_returned_when_asked_for():
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept, left = map(int, done.stdout.split())
    assert kept > 200
    assert left < 40


def test_a_worker_returns_it_after_each_job(monkeypatch, tmp_path):
    returned = []
    monkeypatch.setattr(worker, "return_freed_memory", lambda: returned.append(True))
    runner = worker.Runner(worker.Settings(Environment(), tmp_path, runner="no_such_module"))
    cell = CellSpec(dataset="digits", model="cnn", warmup_rounds=0)
    for done in (1, 2):
        assert runner.attempt(Job("one", "cell", cell), lambda step: None)[0] == "failed"
        assert len(returned) == done


class Library:
    """A C library that refuses a threshold above ``most``."""

    def __init__(self, most):
        self.calls = []

        def mallopt(name, value):
            taken = name != -3 or value <= most
            self.calls.append((name, value, taken))
            return int(taken)

        self.mallopt = mallopt


@pytest.mark.parametrize(("most", "expected"), [(2**40, 2**28), (2**25, 2**25)])
def test_the_largest_threshold_that_is_accepted(most, expected):
    library = Library(most)
    assert allocator.keep_freed_memory(lambda: library)
    assert [value for name, value, taken in library.calls if name == -3 and taken] == [expected]
    assert (-1, 2**31 - 1, True) in library.calls


def test_other_c_libraries():
    assert not allocator.keep_freed_memory(object)
    assert not allocator.keep_freed_memory(lambda: Library(0))

    def missing():
        raise OSError("no such library")

    assert not allocator.keep_freed_memory(missing)


PEAK = """
from benchmarks.memory import peak_memory
from clipfed_bench.execution.allocator import keep_freed_memory
keep_freed_memory()
held = [bytearray(2**24) for _ in range(12)]
del held  # 200 MB that the process keeps, to be used again
with peak_memory("cpu") as peak:
    held = [bytearray(2**24) for _ in range(6)]
print(peak.bytes / 2**20)
"""


def test_memory_that_is_used_again_counts_for_the_peak():
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if done.stdout != "nan\n":  # the system does not tell
        assert float(done.stdout) == pytest.approx(96, abs=6)
