"""Stands in for the simulator in tests of the pool: what a job does depends on its cell's seed. No torch."""

from __future__ import annotations

import os
import signal
import sys
import time

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import CellResult, Progress
from clipfed_bench.core.notices import notice
from clipfed_bench.runs.digests import PREFIX
from clipfed_bench.simulator.digests import Digests

OK, CRASH, MISTAKE, KILLED, EXIT, SLOW, HANG, NOISY, MEET, MEMORY, MEMORY_ONCE, KILLED_ONCE, ORPHAN, STUCK = range(14)
NOTICE = 14


class OutOfMemoryError(RuntimeError):
    """Called like torch's."""


def first_time(spec, env):
    """Whether this cell is run for the first time."""
    try:
        (env.warmup_dir / f"tried-{spec.key}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def load_data(spec, env, report):
    if spec.dataset == "cifar100":
        raise UserError("nothing to download it from")


def prepare(spec, env, report):
    report(Progress("teacher", 1, 1))
    if spec.teacher == "local[seed=13]":
        raise UserError("no such teacher")
    time.sleep(0.2)
    (env.warmup_dir / f"teacher-{os.getpid()}-{time.monotonic_ns()}").touch()


def run_warmup(spec, env, report):
    if spec.seed == CRASH:
        raise RuntimeError("warm-up broke")
    if spec.seed == MEMORY_ONCE and first_time(spec, env):
        raise MemoryError
    (env.warmup_dir / spec.warmup_key).touch(exist_ok=False)


def run_prefix(spec, env, report):
    report(Progress("prefix", spec.prefix_rounds, spec.prefix_rounds))
    (env.warmup_dir / spec.prefix_key).touch(exist_ok=False)


def run_cell(spec, env, report):
    started = time.monotonic()
    if (env.warmup_dir / "broken").exists():
        raise UserError("it is broken by now")
    report(Progress("round", 0, spec.rounds, 0.1, 0.9))
    if spec.seed == CRASH:
        raise ValueError("numbers do not fit")
    if spec.seed == MISTAKE:
        raise UserError("that cannot be")
    if spec.seed == NOTICE:
        notice("something to know")
    if spec.seed == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.seed == EXIT:
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    if spec.seed == KILLED_ONCE and first_time(spec, env):
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.seed == MEMORY or (spec.seed == MEMORY_ONCE and spec.warmup_rounds == 0 and first_time(spec, env)):
        try:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        except OutOfMemoryError as error:
            raise UserError("the model does not load") from error
    if spec.seed == ORPHAN:
        (env.warmup_dir / "pid").write_text(str(os.getpid()))
        time.sleep(60)
    if spec.seed == STUCK:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(60)
    if spec.seed == SLOW:
        time.sleep(0.3)
    if spec.seed == MEET:
        _meet(env.warmup_dir)
    if spec.seed == NOISY:
        print("printed by a library", flush=True)
    while spec.seed == HANG:
        time.sleep(0.05)
    facts = {
        "pid": str(os.getpid()),
        "threads": os.environ["OMP_NUM_THREADS"],
        "started": str(started),
        "ended": str(time.monotonic()),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "torch": str("torch" in sys.modules),
        "sigint_blocked": str(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    }
    facts |= {PREFIX + name: value for name, value in Digests(env.data_dir).of(spec).items()}
    return CellResult([{"round": 0, "mta": 0.1}], {"mta": 0.5, "asr": 0.25}, facts)


def _meet(folder):
    """Wait until another process is at such a cell too."""
    (folder / f"meet-{os.getpid()}").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("meet-*"))) < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("nobody else came")
        time.sleep(0.02)
