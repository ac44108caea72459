"""Where a table says nothing about defenses: the model did not learn, or the attack did not work, without any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from clipfed_bench.config.words import titled
from clipfed_bench.core.errors import UserError
from clipfed_bench.data.catalog import info
from clipfed_bench.report.tables.axes import Record

CHANCE = 1.5
"""FedAvg's MTA over that of guessing, up to which its model counts as one that has not learned [ours]."""
WORKED = 0.5
"""FedAvg's ASR from which an attack counts as one that works [ours]."""
_SETTING = ("dataset", "partition", "alpha", "degree", "attack", "malicious", "model")


def doubts(records: Sequence[Record]) -> Iterator[str]:
    """A sentence on the settings in which FedAvg, over its seeds, ends at chance; one on those without a backdoor."""
    plain: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        known = record["status"] == "done" and all(record[name] is not None for name in ("mta", "asr"))
        if known and record["defense_name"] == "fedavg":
            plain.setdefault(tuple(record[name] for name in _SETTING), []).append(record)
    several = [name for name in _SETTING if len({record[name] for found in plain.values() for record in found}) > 1]
    lost, harmless = [], []
    for found in plain.values():
        place = ", ".join(titled(name, found[0][name]) for name in several or ("attack",) if found[0][name] is not None)
        mta, asr = (fmean(record[name] for record in found) for name in ("mta", "asr"))
        if mta <= CHANCE / _classes(found[0]):
            lost.append(f"{place} (MTA {100 * mta:.1f})")
        elif found[0]["attack_name"] != "none" and asr < WORKED:
            harmless.append(f"{place} (ASR {100 * asr:.1f})")
    if lost:
        yield f"FedAvg has not learned more than chance, so other rows mean nothing: {'; '.join(lost)}."
    if harmless:
        limit = f"FedAvg's ASR is below {100 * WORKED:g} %"
        text = f"The attack does not work without a defense ({limit}), so rows say nothing of one"
        yield f"{text}: {'; '.join(harmless)}."


def _classes(record: Record) -> int:
    try:
        return len(info(record["dataset"]).classes)
    except UserError:  # of a plug-in that is not here
        return 10**6
