"""What stands below a table: what the numbers are, and the settings of its cells, all read from the results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from clipfed_bench.config.words import beside_paper, phrases
from clipfed_bench.core.shares import nearest, part
from clipfed_bench.report.tables.axes import OF_DEFENSE, SETTINGS, Record
from clipfed_bench.report.tables.statistics import LEVEL, RESAMPLES
from clipfed_bench.report.tables.versions import versions
from clipfed_bench.runs.metrics import Metric

_MOST = 6
"""Kinds of cells that a note names."""

_SPREADS = {
    "std": "Mean ± sample standard deviation",
    "ci": f"Mean and [Student t interval of the mean, {100 * LEVEL:g} %]",
    "bootstrap": f"Mean and [percentile bootstrap interval of the mean, {100 * LEVEL:g} %, {RESAMPLES:,} resamples]",
    "range": "Mean and [smallest, largest]",
    "none": "Mean",
}

_SOURCES = {
    "git_sha": "version of the source",
    "version_torch": "version of torch",
    "device_name": "device",
    "precision": "precision",
    "kernels": "kernels",
}


def notes(
    records: Sequence[Record],
    metrics: Sequence[Metric],
    axes: Sequence[str],
    added: Sequence[str],
    seeds: Sequence[Sequence[int]],
    spread: str = "std",
    against: str | None = None,
    signs: Sequence[str] = (),
    doubted: Sequence[str] = (),
) -> tuple[str, ...]:
    """Sentences for below the table. ``seeds``: those done in each of its places.

    ``signs`` are on what stands behind its numbers, ``doubted`` on where it says nothing of defenses.
    """
    found = (
        meaning(metrics, records),
        _no_trigger(records, metrics),
        "" if against is None else f"Differences: each defense minus {against}, seed by seed in the same setting.",
        _spread(seeds, spread, against is None),
        _bold(metrics, axes),
        *signs,
        *_settings(records, axes),
        f"Shown as they vary: {', '.join(added)}." if added else "",
        _failed(records),
        caution(records),
        *doubted,
        *_sources(records),
    )
    return tuple(filter(None, found))


def caution(records: Sequence[Record]) -> str:
    """What keeps these numbers from being compared with the paper's; nothing where nothing does."""
    smaller = beside_paper(records)
    text = "Not at the paper's scale, which is in brackets, so that these numbers do not compare with its"
    return f"{text}: {', '.join(smaller)}." if smaller else ""


def of_cells(records: Sequence[Record], axes: Sequence[str]) -> tuple[str, ...]:
    """Sentences on what the cells have in common beside ``axes``, and on what made them where that differs."""
    return tuple(filter(None, (*_settings(records, axes), *of_updates(records), *_sources(records))))


def _settings(records: Sequence[Record], axes: Sequence[str]) -> Iterator[str]:
    """Every setting that is no axis, and each defense's teacher and server data where defenses differ in them."""
    varying = [name for name in OF_DEFENSE if len({record[name] for record in records}) > 1]
    shared = phrases(records, [name for name in SETTINGS if name not in (*axes, *varying)])
    yield f"All cells: {', '.join(shared)}." if shared else ""
    of_server = [name for name in varying if name not in ("defense", "defense_name")]
    own = {
        defense: phrases([record for record in records if record["defense_name"] == defense], of_server)
        for defense in sorted({record["defense_name"] for record in records})
    }
    yield " ".join(f"{defense}: {', '.join(found)}." for defense, found in own.items() if found)
    # What was seen of server data that should be generated, and are not as far as can be told.
    seen = sorted({label for record in records if (label := str(record.get("server_label"))).startswith("generated,")})
    yield f"Server data are {'; '.join(seen)}." if seen else ""
    real = {(record["teacher"], found) for record in records if _bound(found := record.get("teacher_trained_on"))}
    yield " ".join(f"Teacher {name} was trained on {data}." for name, data in sorted(real))


def _bound(trained_on: object) -> bool:
    """Whether a teacher was trained on real images, as `data` calls those that are held out."""
    return isinstance(trained_on, str) and "(upper bound)" in trained_on


def of_updates(records: Sequence[Record]) -> tuple[str, ...]:
    """Sentences on how many attackers there were, and on updates that were dropped."""
    return tuple(filter(None, (_attackers(records), _dropped(records))))


def _attackers(records: Sequence[Record]) -> str:
    groups: dict[str, list[float]] = {}
    for record in records:
        figures: list[Any] = [record.get(name) for name in ("attackers", "malicious", "clients")]
        if all(value is not None and math.isfinite(value) for value in figures):
            seen, share, clients = figures
            count, asked = nearest(share, clients), part(share, clients)
            exact = "" if count == asked else f" ({100 * share:g} % are {float(asked):g})"
            found = groups.setdefault(f"{count} of {clients} clients{exact}, {{}} of {record['clients_per_round']}", [])
            found.append(seen)
    if not groups:
        return ""
    means = {text: dict.fromkeys(f"{seen:.2f}" for seen in (min(found), max(found))) for text, found in groups.items()}
    texts = "; ".join(text.format(" to ".join(mean)) for text, mean in means.items())
    finite = ", whose updates were finite" if _lost(records) else ""
    return f"Attackers{finite}: {texts} a round on average."


def _lost(records: Sequence[Record]) -> list[Record]:
    """Cells of which updates were dropped."""
    return [record for record in records if 0 < (record.get("dropped") or 0) < math.inf]


def _dropped(records: Sequence[Record]) -> str:
    found = _lost(records)
    if not found:
        return ""
    count = sum(int(record["dropped"]) for record in found)
    whole = sum((record["rounds"] or 0) * (record["clients_per_round"] or 0) for record in found)
    what = dict.fromkeys(f"{record['attack']} and {record['defense']}" for record in found)
    shown = ", ".join([*list(what)[:_MOST], *(["..."] if len(what) > _MOST else [])])
    cells = f"{len(found)} of {len(records)} cells"
    return (
        f"Not finite, and dropped before the defense: {count:,} of {whole:,} updates in {cells} ({shown}); they "
        "count in no TPR or FPR."
    )


def _sources(records: Sequence[Record]) -> Iterator[str]:
    done = [record for record in records if record["status"] == "done"]
    yield from versions(records)
    for column, what in _SOURCES.items():
        values = sorted({str(value) for record in done if (value := record.get(column)) is not None})
        if len(values) > 1:
            yield f"Cells differ in the {what}: {', '.join(values)}."
    if done and all(record.get("precision") == "bfloat16" for record in done):
        yield "Trained and evaluated in bfloat16, with float32 weights."


def meaning(metrics: Sequence[Metric], records: Sequence[Record]) -> str:
    """What each of ``metrics`` is, on the images that ``records`` were evaluated on."""
    images = " or ".join(sorted({record["evaluate"] for record in records})) or "test"
    told = "; ".join(f"{metric.label}: {metric.meaning}" for metric in metrics) + "."
    return told.replace("test images", f"{images} images")


def _no_trigger(records: Sequence[Record], metrics: Sequence[Metric]) -> str:
    """Which attacks of cells that are done have no ASR, where one is shown."""
    if not any(metric.name.startswith("asr") for metric in metrics):
        return ""
    known: dict[str, bool] = {}
    for record in records:
        if record["status"] == "done":
            known[record["attack"]] = known.get(record["attack"], False) or record.get("asr") is not None
    names = [name for name, has in known.items() if not has]
    return f"No ASR, for want of a trigger: {', '.join(names)}; MTA tells the damage." if names else ""


def _spread(seeds: Sequence[Sequence[int]], spread: str, shares: bool) -> str:
    most, every = max(map(len, seeds)), sorted({seed for found in seeds for seed in found})
    if most < 2:
        return f"One seed ({', '.join(map(str, every))}) and so no spread." if most else ""
    full = Counter(tuple(found) for found in seeds if len(found) == most)
    beyond = " (which may leave 0 to 100)" if shares and spread == "ci" else ""
    text = f"{_SPREADS[spread]}{beyond} over {most} seeds ({', '.join(map(str, every))})"
    return f"{text}; not the same ones everywhere." if len(full) > 1 else f"{text}."


def _bold(metrics: Sequence[Metric], axes: Sequence[str]) -> str:
    named = [f"{metric.better} {metric.label}" for metric in metrics if metric.better]
    if not named or not {"defense", "defense_name"} & set(axes):
        return ""
    return f"Bold: {' and '.join(named)} among defenses, each on its own, at the precision shown."


def _failed(records: Sequence[Record]) -> str:
    failed = sum(record["status"] != "done" for record in records)
    return f"{failed} of {len(records)} cells failed." if failed else ""
