"""Numbers of one place that are of unequal numbers of seeds: what n stands beside which of them."""

from __future__ import annotations

import math

from makers.frames import cell, frame

from clipfed_bench.report.formats.markdown import markdown
from clipfed_bench.report.page.evidence import later
from clipfed_bench.report.tables.marked import FEWER
from clipfed_bench.report.tables.printed import printed
from clipfed_bench.report.tables.table import table


def test_numbers_of_a_place_that_have_not_the_same_seeds():
    """An older version did not measure the second of them."""
    known = (math.nan, 0.02, 0.04)
    results = frame(
        *(cell(seed=s, asr=0.5, defense=d) | {"asr_clean": c} for s, c in enumerate(known) for d in ("fedavg", "krum"))
    )
    made = table(results, metrics=["asr", "asr_clean"])
    assert FEWER in made.notes
    assert "(n=3 / 2)" in markdown(printed(made))
    (clean,) = (section for section in later(results, "std", 5.0) if section.id == "clean")
    fedavg = next(row for row in clean.grids[0].rows if row[0] == "fedavg")
    assert [(place.numbers[0].text, place.fewer) for place in fedavg[1:]] == [("50.0", ""), ("3.0", "2")]
    every = table(results[results.seed > 0], metrics=["asr", "asr_clean"])
    assert FEWER not in every.notes
    assert "(n=" not in markdown(printed(every))
