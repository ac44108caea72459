"""Folders that workers on other machines have to see as the command does, and whether they do. No torch."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.paths import cache_root, data_root
from clipfed_bench.execution.jobs import Job
from clipfed_bench.execution.worker import Settings
from clipfed_bench.teacher.spec import parse_teacher_spec


@dataclass(frozen=True)
class Place:
    """A folder that workers have to see."""

    option: str
    """The option that names it."""
    path: Path
    proof: Path
    """What is there if it is seen."""


def unseen(places: Sequence[Place], patience: float) -> tuple[Place, ...]:
    """Those of ``places`` that are still not there after ``patience`` seconds: network filesystems are a bit late."""
    deadline = time.monotonic() + patience
    while (missing := tuple(place for place in places if not place.proof.exists())) and time.monotonic() < deadline:
        time.sleep(0.2)
    return missing


def refuse_unseen(missing: Sequence[Place], host: str) -> None:
    """Raise UserError for the first of the places that ``host`` does not see."""
    for place in missing:
        needed = "on a filesystem that all nodes share" if place.proof != place.path else "there on every node"
        raise UserError(f"{place.option}: node {host} does not see {place.path}; it has to be {needed}.")


def absolute(settings: Settings) -> Settings:
    """``settings`` with paths that mean the same in every process; the data folder is no longer left to a variable."""
    given = settings.environment
    data = given.data_dir or os.environ.get("CLIPFED_BENCH_DATA")
    environment = replace(
        given,
        data_dir=Path(data).expanduser().absolute() if data else None,
        cache_dir=given.cache_dir.expanduser().absolute() if given.cache_dir else None,
        warmup_dir=given.warmup_dir.absolute(),
        model_dir=given.model_dir.absolute() if given.model_dir else None,
    )
    return replace(settings, environment=environment, logs=settings.logs.absolute())


def _drop_old(folder: Path) -> None:
    """Remove proofs that commands left in ``folder`` when they were killed, more than a day ago."""
    for path in folder.glob(".seen-*"):
        with contextlib.suppress(OSError):  # another command did it
            if path.stat().st_mtime < time.time() - 86400:
                path.unlink()


@contextlib.contextmanager
def shared_places(settings: Settings, jobs: Sequence[Job]) -> Iterator[list[Place]]:
    """The folders that workers have to see, each with a new file in it by which it is known; removed in the end."""
    run, environment = settings.logs.parent, settings.environment
    folders = {"--out": settings.logs}
    if run not in environment.warmup_dir.parents and any(job.stage == "warmup" for job in jobs):
        folders["--warmups"] = environment.warmup_dir
    teachers = [job.spec.teacher for job in jobs if job.stage == "teacher" and job.spec.teacher is not None]
    if any(parse_teacher_spec(teacher).trained for teacher in teachers):
        folders["--cache-dir"] = environment.cache_dir or cache_root().absolute()
    if environment.data_dir is None and any(job.stage == "data" for job in jobs):
        folders["--data-dir"] = data_root().absolute()  # downloaded into by one worker, for all
    marker = f".seen-{uuid.uuid4().hex}"
    places = [Place(option, run if option == "--out" else path, path / marker) for option, path in folders.items()]
    try:
        for place in places:
            try:
                place.proof.parent.mkdir(parents=True, exist_ok=True)
                _drop_old(place.proof.parent)
                place.proof.touch()
            except OSError as error:
                raise UserError(f"{place.option}: {place.path} cannot be written: {error.strerror}.") from None
        data = environment.data_dir
        yield [*places, Place("--data-dir", data, data)] if data else places
    finally:
        for place in places:
            with contextlib.suppress(OSError):
                place.proof.unlink()
        with contextlib.suppress(OSError):  # not there, or not empty
            settings.logs.rmdir()
