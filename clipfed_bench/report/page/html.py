"""A run as one HTML page that needs nothing from elsewhere: text, tables, and plots as inline SVG.

Whatever comes from the run (names, errors, provenance) is escaped by the template engine, and a content security policy
forbids scripts and every load.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clipfed_bench.core.errors import UserError, printable
from clipfed_bench.core.version import VERSION
from clipfed_bench.report.formats.sheet import Cell, Entry, Number, listing
from clipfed_bench.report.page import facts
from clipfed_bench.report.page.evidence import later, over_all
from clipfed_bench.report.page.section import DECIMALS, Section, drawings
from clipfed_bench.report.tables import footnotes
from clipfed_bench.report.tables.admissible import MARGIN
from clipfed_bench.report.tables.axes import Record, rank
from clipfed_bench.report.tables.model import Table
from clipfed_bench.report.tables.printed import spread_out, without_empty_columns
from clipfed_bench.report.tables.statistics import enough
from clipfed_bench.report.tables.table import plain_records, table
from clipfed_bench.runs.metrics import DETECTION, SECONDS

_PLOTS = (
    (
        *("curves", "MTA and ASR by round"),
        "Lines are means over seeds. Bands, where there are no more than six lines, are one sample standard deviation "
        "to either side, cut at 0 and 100 %.",
    ),
    (
        *("tradeoff", "Trade-off between MTA and ASR"),
        "A point is a defense in a setting, at the means of its last evaluations; bars are one sample standard "
        "deviation to either side, cut at 0 and 100 %. The best place is the upper left corner.",
    ),
)
"""Plots that need no more than a sentence: kind, title, text."""


def render(
    name: str,
    results: pd.DataFrame,
    history: pd.DataFrame,
    warnings: Iterable[str] = (),
    spread: str = "std",
    against: str | None = None,
    admissible: float = MARGIN,
    bounds: bool = False,
) -> str:
    """The page on the run called ``name``; frames as of :meth:`clipfed_bench.runs.store.RunStore.frames`.

    ``history`` may be empty. ``warnings`` say what could not be read. ``spread`` stands beside the means of tables;
    ``against`` is the defense that the others are compared with, the first one if not given; ``admissible`` and
    ``bounds`` are as for tables. The same run is the same page. Raises UserError where there are no cells, for cells
    that cannot be told apart, and for an ``against`` that has nothing in common with the others.
    """
    main = partial(table, results, decimals=DECIMALS, spread=spread, admissible=admissible, bounds=bounds)
    made = main()
    if against is not None:
        _differences(results, spread, against)
    records = plain_records(results)
    makers: dict[str, Callable[[], Section]] = {
        "Paired differences": lambda: _paired(results, spread, against),
        **{title: partial(_plotted, kind, title, intro, results, history) for kind, title, intro in _PLOTS},
        "Against alpha, degree or malicious share": lambda: _against(results, history),
        "Over all settings": lambda: over_all(results, history, against, admissible),
        "Detection": lambda: _detection(results, history, spread),
        "Cost": lambda: _cost(results, history, records),
    }
    sections, left_out = [_main(made, results, main), *later(results, spread, admissible)], []
    for title, make in makers.items():
        try:
            sections.append(make())
        except UserError as error:
            reason = str(error)
            left_out.append(f"{title}: {reason[:1].lower()}{reason[1:]}")
    text: str = _template().render(
        name=name,
        version=VERSION,
        lead=facts.lead(records),
        what=facts.what_was_run(records),
        caution=footnotes.caution(records),
        sections=sections,
        provenance=facts.provenance(records),
        defaults=[(facts.ORIGINS.get(kind, kind), kind, owners) for kind, owners in facts.defaults(records)],
        failures=facts.failures(records),
        failed=sum(record["status"] != "done" for record in records),
        count=len(records),
        warnings=list(warnings),
        left_out=left_out,
    )
    return text


def _main(made: Table, results: pd.DataFrame, make: Callable[..., Table]) -> Section:
    """MTA and ASR of the last evaluation, and of the tail where it differs."""
    shown = [spread_out(made, f"{made.title}, last evaluation")]
    if {"mta_tail", "asr_tail"} <= set(results):
        tail = make(metrics=("mta_tail", "asr_tail"))
        last = {place: made.texts(entry) for place, entry in made.entries.items() if entry.numbers}
        if any(tail.texts(entry) != last[place] for place, entry in tail.entries.items() if entry.numbers):
            shown.append(spread_out(tail, "MTA / ASR in per cent, mean over the last 10 % of rounds"))
    return Section("results", "Main-task accuracy and attack success", "", grids=shown, notes=made.notes)


def _paired(results: pd.DataFrame, spread: str, against: str | None) -> Section:
    """Every defense against one of them, on the same seeds."""
    known = sorted(set(results.loc[results["status"] == "done", "defense"]), key=rank)
    if len(known) < 2:
        raise UserError("it takes two defenses with cells that are done.")
    made = _differences(results, spread, against or known[0])
    most = max(number.n for entry in made.entries.values() for number in entry.numbers)
    if most < 2:
        raise UserError(f"no defense has two seeds in common with {made.against} in any setting.")
    text = (
        f"What each defense came to minus what {made.against} came to with the same seed, clients and batches; what a "
        "seed does to both is not in it. An interval without 0 says that the difference is more than seeds explain, "
        "provided that differences are normal. "
    )
    if most < enough():
        text += f"{most} seeds are too few to say so without that proviso; it takes {enough()}. "
    text += "Of many comparisons some leave out 0 by chance, so a difference is marked only by a corrected test."
    return Section(
        "paired",
        f"Paired differences from {made.against}",
        text,
        grids=[spread_out(made, made.title)],
        notes=made.notes[1:4],
    )


def _differences(results: pd.DataFrame, spread: str, against: str) -> Table:
    """With an interval in any case: a difference is read by whether it leaves out 0."""
    return table(results, decimals=DECIMALS, spread=spread if spread in ("ci", "bootstrap") else "ci", against=against)


def _plotted(kind: str, title: str, text: str, results: pd.DataFrame, history: pd.DataFrame) -> Section:
    return Section(kind, title, text, drawings(kind, results, history))


def _against(results: pd.DataFrame, history: pd.DataFrame) -> Section:
    drawn = drawings("alpha", results, history)  # loads matplotlib, with care
    from clipfed_bench.report.plots.alpha import plans

    names = {"malicious": "the malicious share"}
    words = " and ".join(names.get(plan.axis, plan.axis) for plan in plans(results))
    text = (
        "Points are means over seeds, moved a little to the side where they would hide each other; bars are one sample "
        "standard deviation to either side, cut at 0 and 100 %."
    )
    return Section("against", f"MTA and ASR against {words}", text, drawn)


def _detection(results: pd.DataFrame, history: pd.DataFrame, spread: str) -> Section:
    drawn = drawings("detection", results, history)
    rates = table(results[results["status"] == "done"], metrics=DETECTION, decimals=DECIMALS, spread=spread)
    text = (
        "The share of a round's malicious updates (TPR) and of its benign ones (FPR) that a defense rejects, mean of "
        "the rounds. Defenses that do not select updates, such as a mean or median, have no rates, and updates that "
        "are dropped because they are not finite count in none."
    )
    shown = spread_out(without_empty_columns(rates), "TPR / FPR in per cent")
    return Section("detection", "Detection of malicious updates", text, drawn, [shown])


def _cost(results: pd.DataFrame, history: pd.DataFrame, records: Sequence[Record]) -> Section:
    drawn = drawings("cost", results, history)  # loads matplotlib, with care
    from clipfed_bench.report.plots.cost import PARTS, bars

    rows: list[tuple[Entry, ...]] = []
    for title, panel in bars(results).items():
        for bar in panel:
            label = f"{bar.label}, {title}" if title else bar.label
            times = [f"{seconds:.3f}" for seconds in (*bar.seconds, sum(bar.seconds))]
            rows.append((label, *(Cell((Number(text),)) for text in (*times, str(bar.cells)))))
    whole = [name for name in SECONDS if name != "seconds_purify"]  # a part of seconds_defense
    spent = sum(float(record[name] or 0.0) for record in records for name in whole if name in record)
    unit, name = next(((u, n) for u, n in ((3600, "hours"), (60, "minutes")) if spent >= u), (1, "seconds"))
    text = (
        f"All cells together took {spent / unit:.1f} {name} of computing, without warm-ups and teachers; rounds that "
        "cells share before the attack count in each of them. Bars are means over the attacks, partitions and seeds "
        "that all defenses shown have run; evaluation is spread over all rounds. Times also depend on what else the "
        "machine did."
    )
    shown = listing("Seconds of a round", ("defense", *PARTS, "all", "cells"), 1, rows)
    return Section("cost", "Cost of a round", text, drawn, [shown])


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("clipfed_bench.report", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_visible,
    )  # fmt: skip
    environment.filters["soft"] = _soft
    return environment.get_template("report.html.j2")


def _visible(value: Any) -> Any:
    """Text without control characters; markup and all else as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(map(printable, value.split("\n")))


def _soft(text: str) -> Markup:
    """``text`` (escaped) that may break behind the signs in names with options and in paths."""
    return Markup("<wbr>").join(re.split(r"(?<=[\[,/])(?=\S)", _visible(text)))
