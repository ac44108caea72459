"""Parts of the page: defenses over all settings; clean ASR, tail classes, lifespan, and what other packages measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from clipfed_bench.core.errors import UserError
from clipfed_bench.report.overall.sheet import overall
from clipfed_bench.report.page.section import DECIMALS, Section, drawings
from clipfed_bench.report.tables.printed import spread_out, without_empty_columns
from clipfed_bench.report.tables.signs import IDLE, LOW
from clipfed_bench.report.tables.table import table
from clipfed_bench.runs.metric_catalog import added
from clipfed_bench.runs.metrics import MAIN, METRICS, SHOTS

_PARTS = (
    (
        *("clean", "What of an ASR is no backdoor", ("asr", "asr_clean"), "Per cent"),
        "ASR of triggered test images, and the share of the same images that are taken for the target without a "
        "trigger (clean): mistakes of the model. Where both are alike the trigger does nothing. Attacks that put other "
        "pictures in place of images (edge-case) are not judged by that.",
    ),
    (
        *("classes", "Head, middle and tail classes", SHOTS, "MTA in per cent"),
        "The same test images by class: the third of the classes with most training images (many), the middle (medium) "
        "and the third with fewest (few), each the mean of its classes. Who gives up the tail is seen here.",
    ),
    (
        *("lifespan", "Lifespan of the backdoor", ("lifespan",), "Rounds"),
        f"{METRICS['lifespan'].meaning[:1].upper()}{METRICS['lifespan'].meaning[1:]}.",
    ),
)
"""Id, title, metrics, caption, text."""


def over_all(results: pd.DataFrame, history: pd.DataFrame, against: str | None, admissible: float) -> Section:
    """Ranks, intervals and worst cases. Raises UserError where settings are too few."""
    shown, drawn = overall(results, decimals=DECIMALS, against=against, admissible=admissible), []
    notes = dict.fromkeys(shown.notes)
    try:
        drawn = drawings("ranks", results, history)
    except UserError as error:  # that a library is absent may be said already
        notes |= {str(error)[:1].upper() + str(error)[1:]: None}
    return Section("overall", shown.title, "", drawn, [replace(shown, notes=())], list(notes))


def later(results: pd.DataFrame, spread: str, admissible: float) -> Iterator[Section]:
    """A section for each of them that any cell has measured."""
    for id, title, metrics, caption, text in (*_PARTS, *_others()):
        if _measured(results, metrics):
            made = table(results, metrics=metrics, decimals=DECIMALS, spread=spread, admissible=admissible)
            notes = [note for note in made.notes if note.startswith((LOW, IDLE))]
            yield Section(id, title, text, grids=[spread_out(without_empty_columns(made), caption)], notes=notes)


def _others() -> Iterator[tuple[str, str, tuple[str], str, str]]:
    """The same of metrics that other packages add."""
    for name, metric in added().usable.items():
        unit = "Per cent" if metric.kind == "fraction" else metric.label.capitalize()
        yield name, metric.label, (name,), unit, f"{metric.meaning}."


def _measured(results: pd.DataFrame, metrics: Sequence[str]) -> bool:
    own = [name for name in metrics if name not in MAIN]  # those are of every cell
    return all(name in results for name in metrics) and bool(results[own].notna().any().any())
