"""Rounds that are played in one go: the one loop of warm-ups, of rounds that cells share, and of cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from clipfed_bench.api import Attack
from clipfed_bench.core.messages import Progress, Report
from clipfed_bench.simulator.checkpoint import Checkpoint
from clipfed_bench.simulator.training import Training

MODEL = "model/"
"""In a checkpoint, what the names of models that were put aside begin with; then come round and vector."""


@dataclass(frozen=True)
class Stage:
    """What is particular about some rounds."""

    name: str
    """As in reports."""
    end: int
    """The last round."""
    place: Checkpoint
    """Where they are kept while they are unfinished."""
    keeps_end: bool = False
    """They are kept there when they are finished, too."""
    attack: Callable[[int], Attack | None] = lambda round_: None
    """Round -> the attack in it; None: everybody is honest."""
    evaluate: Callable[[], None] | None = None
    """Logs an evaluation of the model as it is."""
    shown: tuple[str, ...] = ()
    """Metrics of the last evaluation that reports show: none, mta, or mta and asr."""
    aside: dict[str, Tensor] = field(default_factory=dict)
    """Models that ``evaluate`` puts aside, to be kept as well."""

    def keeps(self, round_: int) -> bool:
        """Whether ``round_`` is one to be kept."""
        return self.keeps_end if round_ == self.end else self.place.due(round_)

    def progress(self, training: Training, note: str = "") -> Progress:
        """How far it is."""
        latest = {name: training.log.rows[-1][name] for name in self.shown}
        figures = latest.get("mta"), latest.get("asr")
        return Progress(self.name, training.done, self.end, *figures, note, dropped=training.log.dropped)


def play(stage: Stage, training: Training, begin: Callable[[], None], report: Report) -> bool:
    """Play all rounds, from where they stopped, or else from what ``begin`` makes of ``training``.

    False: they were kept as finished, and ``training`` is as it was. Raises UserError where training diverges.
    """
    saved = stage.place.load()
    if saved is not None and saved.round == stage.end:
        return False
    if saved is not None:
        training.restore(saved)
        stage.aside.update({name: value.cpu() for name, value in saved.tensors.items() if name.startswith(MODEL)})
        report(stage.progress(training, f"goes on after round {training.done}"))
    else:
        begin()
    while training.done < stage.end:
        training.play(stage.attack(training.done + 1))
        if training.is_evaluated or training.done == stage.end:
            training.refuse_divergence()
        if stage.evaluate is not None and training.is_evaluated:
            stage.evaluate()
        if stage.keeps(training.done):
            stage.place.save(training.done, training.tensors() | stage.aside, training.log.state())
        report(stage.progress(training))
    return True


def warner(report: Report, name: str, rounds: int) -> Callable[[str], None]:
    """Tells ``report`` what people should know of a stage of ``rounds`` rounds that begins."""
    return lambda text: report(Progress(name, 0, rounds, note=f"warning: {text}"))


def silent(_: Progress) -> None:
    """A report that nobody reads."""
