"""A watcher of runs for tests: keeps what it is told, and does on each event what a test wants."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

from clipfed_bench.execution.places import Places
from clipfed_bench.execution.session import Session


@dataclass
class Watching:
    each: object = lambda event: None
    stock: object = None
    events: list = field(default_factory=list)
    computed: dict | None = None

    def began(self, stock):
        self.stock = stock

    @contextmanager
    def computing(self, board):
        yield self.hear

    def hear(self, event):
        self.events.append(event)
        self.each(event)

    def finished(self, computed):
        self.computed = dict(computed)


def fake_session(cells, folder, workers=1, keep_stale=False, **places):
    """A session of cells that the fake simulator computes."""
    return Session(cells, Places(folder, "cpu", workers, **places), runner="fake_simulator", keep_stale=keep_stale)


def run(session, each=lambda event: None):
    """Run ``session``; what was heard of it."""
    watching = Watching(each)
    session.run(watching, "the same command")
    return watching
