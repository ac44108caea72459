"""What happened in a run folder, as lines of JSON in ``events.jsonl``."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clipfed_bench.execution.jobs import Event


class Account:
    """Adds a line for each thing as it happens. Nothing is ever taken out, and a killed process leaves no half line.

    Nothing reads it but people and tests, so that a disk that takes no more costs lines, never a run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.jsonl"
        self.computed: Counter[str] = Counter()
        """Shared work that was computed since this account was opened, by kind."""
        self._computed: dict[str, Counter[str]] = {}
        self._at_work: set[str] = set()

    def write(self, event: str, **more: Any) -> None:
        """Add a line: when, ``event``, and what of ``more`` is neither None nor empty."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "event": event, **{k: v for k, v in more.items() if v not in (None, "", {})}}
        with contextlib.suppress(OSError):
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(file, f"{json.dumps(line)}\n".encode())
            finally:
                os.close(file)

    def record(self, event: Event) -> None:
        """Add a line for ``event``. Of a job's steps only the first, and those with notes."""
        job, step = event.job, event.step
        about: dict[str, Any] = {"stage": job.stage, "job": job.id}
        if step is not None:
            self.computed.update(step.computed)
            self._computed.setdefault(job.id, Counter()).update(step.computed)
            if not step.stage:
                if step.note:
                    self.write("notice", **about, note=step.note)
                return
            if job.id in self._at_work and not step.note:
                return
            self._at_work.add(job.id)
            self.write("step", **about, step=f"{step.stage} {step.done}/{step.total}", note=step.note)
            return
        self._at_work.discard(job.id)
        about |= {"seconds": round(event.seconds, 3) or None, "computed": self._computed.pop(job.id, {})}
        self.write(event.kind, **about, error=event.failure.error if event.failure else None)
