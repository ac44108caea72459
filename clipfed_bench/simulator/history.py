"""The figures of a cell: a history row per evaluation, and the final numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from clipfed_bench.core.metric import Recorded
from clipfed_bench.runs.metric_catalog import final_figures
from clipfed_bench.runs.metrics import SECONDS, judged, mean_known
from clipfed_bench.simulator.stopwatch import Stopwatch
from clipfed_bench.toolbox.device import Figure, is_away, read


class Log:
    """Collects figures round by round. Shares are fractions, times are seconds.

    What a round leaves on a GPU is read when somebody asks: at an evaluation, for a checkpoint, at the end.
    """

    def __init__(self, device: str) -> None:
        self.rows: list[dict[str, float]] = []
        self._watch = Stopwatch(device, SECONDS)
        self._recent: list[dict[str, float]] = []
        self._all: list[dict[str, float]] = []
        self._unread: list[tuple[dict[str, float], str, Figure]] = []

    def timed(self, part: str) -> AbstractContextManager[None]:
        """Add the seconds of the ``with`` block to ``part``."""
        return self._watch.timed(part)

    def selection(
        self, tpr: Figure, fpr: Figure, dropped: int, info: Mapping[str, Figure], attackers: float = math.nan
    ) -> None:
        """A round's detection rates, non-finite updates, what the defense says of itself, and attackers, if any."""
        figures = {"tpr": tpr, "fpr": fpr, "dropped": dropped, "attackers": attackers}
        figures |= {f"info_{name}": value for name, value in info.items()}
        entry = {name: math.nan if is_away(value) else float(value) for name, value in figures.items()}
        # Copies, since a defense may go on writing to what it handed out.
        self._unread += [(entry, name, value.detach().clone()) for name, value in figures.items() if is_away(value)]
        self._recent.append(entry)
        self._all.append(entry)

    @property
    def dropped(self) -> int:
        """Updates so far that were not finite."""
        return int(sum(entry["dropped"] for entry in self._all))

    def _read(self) -> None:
        """Fill in what was still on the device."""
        for (entry, name, _), value in zip(self._unread, read([value for *_, value in self._unread]), strict=True):
            entry[name] = value
        self._unread.clear()

    def evaluation(self, round_: int, figures: Mapping[str, float]) -> None:
        """A history row: metric -> figure, and means (counts: sums) over the rounds since the last one."""
        self._read()
        row: dict[str, float] = {"round": round_, **figures, **judged(self._recent)}
        names = {name for entry in self._recent for name in entry if name.startswith("info_")}
        row |= {name: mean_known(e.get(name, math.nan) for e in self._recent) for name in sorted(names)}
        self.rows.append(row | self._watch.seconds)
        self._watch.reset()
        self._recent = []

    def evaluate(self, round_: int, measure: Callable[[], Mapping[str, float]]) -> None:
        """A history row of what ``measure`` gives, metric -> figure, and of how long it took."""
        with self.timed("seconds_eval"):
            figures = measure()
        self.evaluation(round_, figures)

    def state(self) -> dict[str, Any]:
        """All it knows, as plain lists and dicts of numbers."""
        self._read()
        return {"rows": self.rows, "seconds": self._watch.seconds, "rounds": self._all, "recent": len(self._recent)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over a ``state``; seconds go on from there."""
        self.rows, self._all = list(state["rows"]), list(state["rounds"])
        self._watch.start_from(state["seconds"])
        self._recent = self._all[len(self._all) - state["recent"] :]
        self._unread.clear()

    def final(self, rounds: int, attacked: tuple[int, int] | None = None) -> dict[str, float]:
        """The final figure of each metric, after ``rounds`` rounds; ``attacked``: the first and last one."""
        self._read()
        return final_figures(Recorded(self.rows, self._all, rounds, attacked))
