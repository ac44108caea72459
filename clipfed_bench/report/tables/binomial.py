"""How much a share of 0.00 says: the binomial bound of a share of so many test images."""

from __future__ import annotations

from clipfed_bench.core.errors import UserError
from clipfed_bench.data.catalog import info
from clipfed_bench.report.tables.axes import Record
from clipfed_bench.report.tables.statistics import LEVEL


def images(metric: str, record: Record) -> int | None:
    """Test images that ``metric`` of a cell is a share of; None for what is no share of images, and where unknown.

    Of cells that were evaluated on validation images their number is in no stored row.

    Triggered images are those of other classes than the target.
    """
    if record.get("evaluate", "test") != "test":
        return None
    try:
        test = info(record["dataset"]).test
    except UserError:  # of a plug-in that is not here
        return None
    if metric in ("mta", "mta_tail", "mta_start"):
        return sum(test)
    if metric in ("asr", "asr_tail", "asr_max", "asr_start", "asr_clean"):
        return sum(test) - test[int(record["target"])]
    return None


def wilson(share: float, trials: int, level: float = LEVEL) -> float:
    """Upper end of Wilson's score interval (1927) of a ``share`` in [0, 1] of ``trials``, without correction.

    Seeds are measured on the same images, so ``trials`` are those of one seed.
    """
    from scipy.stats import binomtest  # takes long to import

    found = binomtest(round(share * trials), trials).proportion_ci(level, method="wilson")
    return float(found.high)


def with_bound(text: str, share: float, trials: int | None) -> str:
    """``0.00 (≤0.043)``: ``share`` as it is shown, with its bound where that says 0 and ``trials`` are known."""
    return text if trials is None or float(text) != 0 else f"{text} (≤{100 * wilson(share, trials):.2g})"
