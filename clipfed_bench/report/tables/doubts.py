"""Where a table says nothing about defenses: the model did not learn, or the attack did not work, without any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from clipfed_bench.config.words import titled
from clipfed_bench.core.errors import UserError
from clipfed_bench.data.catalog import info
from clipfed_bench.report.tables.axes import Record
from clipfed_bench.report.tables.paired import ALIKE
from clipfed_bench.report.tables.signs import IDLE

CHANCE = 1.5
"""FedAvg's MTA over that of guessing, up to which its model counts as one that has not learned [ours]."""
WORKED = 0.5
"""FedAvg's ASR from which an attack counts as one that works [ours]."""
Setting = tuple[object, ...]


def doubts(records: Sequence[Record]) -> Iterator[str]:
    """A sentence on the settings in which FedAvg, over its seeds, ends at chance; one on those without a backdoor."""
    plain = _undefended(records)
    several = [name for name in ALIKE if len({record[name] for found in plain.values() for record in found}) > 1]
    lost, harmless = [], []
    for found in plain.values():
        place = ", ".join(titled(name, found[0][name]) for name in several or ("attack",) if found[0][name] is not None)
        if _at_chance(found):
            lost.append(f"{place} (MTA {100 * _mean(found, 'mta'):.1f})")
        elif _works(found) is False:
            harmless.append(f"{place} (ASR {100 * _mean(found, 'asr'):.1f})")
    if lost:
        yield f"FedAvg has not learned more than chance, so other rows mean nothing: {'; '.join(lost)}."
    if harmless:
        limit = f"FedAvg's ASR is below {100 * WORKED:g} %"
        text = f"{IDLE}: the attack does not work without a defense ({limit}), so rows say nothing of one"
        yield f"{text}: {'; '.join(harmless)}."


def working(records: Sequence[Record]) -> Mapping[Setting, bool]:
    """Setting (:func:`scene`) -> whether its attack works without a defense, where FedAvg was run in it."""
    found = ((place, _works(cells)) for place, cells in _undefended(records).items())
    return {place: works for place, works in found if works is not None}


def scene(record: Record) -> Setting:
    """The settings that whether an attack works without a defense is said for."""
    return tuple(record[name] for name in ALIKE)


def _undefended(records: Sequence[Record]) -> dict[Setting, list[Record]]:
    plain: dict[Setting, list[Record]] = {}
    for record in records:
        known = record["status"] == "done" and all(record[name] is not None for name in ("mta", "asr"))
        if known and record["defense_name"] == "fedavg":
            plain.setdefault(scene(record), []).append(record)
    return plain


def _works(found: Sequence[Record]) -> bool | None:
    """None for cells without an attack, and where nothing was learned."""
    return None if found[0]["attack_name"] == "none" or _at_chance(found) else _mean(found, "asr") >= WORKED


def _at_chance(found: Sequence[Record]) -> bool:
    return _mean(found, "mta") <= CHANCE / _classes(found[0])


def _mean(found: Sequence[Record], name: str) -> float:
    return fmean(record[name] for record in found)


def _classes(record: Record) -> int:
    try:
        return len(info(record["dataset"]).classes)
    except UserError:  # of a plug-in that is not here
        return 10**6
