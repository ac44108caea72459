"""Cells that stand side by side and were computed from different versions of one thing: what, and which cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from clipfed_bench.config.words import heading, label
from clipfed_bench.core.work_counts import plural
from clipfed_bench.report.tables.axes import SETTINGS, Record
from clipfed_bench.runs.digests import METRIC, OF, UNKNOWN, recorded, subject

_SEEN = {"data": "data_source", "server_data": "server_hash", "teacher": "teacher_identity"}
"""What is known of inputs only to who has read them, such as weights that come by a name: a digest may not tell."""

_NUMBERS = {2: "Two", 3: "Three", 4: "Four"}


def versions(records: Iterable[Record]) -> tuple[str, ...]:
    """A sentence for all that ``records`` of cells that are done have in different versions alike, none where nothing.

    ``Two versions of attack badnets: cells of seed 0 and of seeds 1, 2.``
    """
    done = [record for record in records if record["status"] == "done"]
    known = [record for record in done if recorded(record)]
    found: dict[str, list[str]] = {}
    for name, settings in OF.items():
        same: dict[tuple[object, ...], dict[object, list[Record]]] = {}
        for record in known:
            if value := recorded(record).get(name):
                version = (value, str(record.get(_SEEN[name]))[-64:] if name in _SEEN else None)
                place = tuple(record.get(setting) for setting in settings)
                same.setdefault(place, {}).setdefault(version, []).append(record)
        for groups in (list(group.values()) for group in same.values() if len(group) > 1):
            what = found.setdefault(f"{_NUMBERS.get(len(groups), len(groups))} versions of {{}}: {_which(groups)}.", [])
            what += [text] if (text := subject(name, groups[0][0])) not in what else []
    for column in sorted({name for record in done for name in record if name.startswith(METRIC)}):
        by_value: dict[str, list[Record]] = {}
        for record in done:
            if isinstance(value := record.get(column), str):
                by_value.setdefault(value, []).append(record)
        if len(groups := list(by_value.values())) > 1:
            sentence = f"{_NUMBERS.get(len(groups), len(groups))} versions of {{}}: {_which(groups)}."
            found.setdefault(sentence, []).append(f"metric {column.removeprefix(METRIC)}")
    sentences = [sentence.replace("{}", ", ".join(what)) for sentence, what in found.items()]
    if known and (old := [record for record in done if not recorded(record)]):
        sentences.append(f"Cells {UNKNOWN}: {_which([old, known]).partition(' and ')[0].removeprefix('cells of ')}.")
    return tuple(sentences)


def _which(groups: Sequence[Sequence[Record]]) -> str:
    """``cells of seed 0 and of seeds 1, 2``: by a setting that tells them apart, else by their number."""
    for name in ("seed", "attack", "defense", "alpha", "degree", *SETTINGS):
        values = [dict.fromkeys(record[name] for record in group) for group in groups]
        if all(a.keys().isdisjoint(b) for a, b in combinations(values, 2)):
            title = heading(name)
            texts = (f"{title}{'s' * (name == 'seed' and len(v) > 1)} {', '.join(map(label, v))}" for v in values)
            return f"cells of {' and of '.join(texts)}"
    return " and ".join(plural(len(group), "cell") for group in groups)
