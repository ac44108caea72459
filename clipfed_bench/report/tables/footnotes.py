"""What stands below a table: what the numbers are, and the settings of its cells, all read from the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from clipfed_bench.config.words import phrase
from clipfed_bench.report.tables.axes import OF_DEFENSE, SETTINGS, Record
from clipfed_bench.report.tables.statistics import LEVEL, RESAMPLES
from clipfed_bench.runs.metrics import Metric

_NEUTRAL = {"attack_start": 1, "attack_scale": 1.0, "weight_decay": 0.0}
"""Values that say no more than that a feature is not in use; None for any other setting."""

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
}


def notes(
    records: Sequence[Record],
    metrics: Sequence[Metric],
    axes: Sequence[str],
    added: Sequence[str],
    seeds: Sequence[Sequence[int]],
    spread: str = "std",
    against: str | None = None,
) -> tuple[str, ...]:
    """Sentences for below the table. ``seeds``: those done in each of its places."""
    found = (
        meaning(metrics),
        _against(against),
        _spread(seeds, spread, against is None),
        _bold(metrics, axes),
        *_cells(records, axes),
        f"Shown as they vary: {', '.join(added)}." if added else "",
        _gaps(records, seeds),
        *_sources(records),
    )
    return tuple(sentence for sentence in found if sentence)


def of_cells(records: Sequence[Record], axes: Sequence[str]) -> tuple[str, ...]:
    """Sentences on what the cells have in common beside ``axes``, and on what made them where that differs."""
    return tuple(sentence for sentence in (*_cells(records, axes), *_sources(records)) if sentence)


def _cells(records: Sequence[Record], axes: Sequence[str]) -> tuple[str, ...]:
    return _settings(records, axes), _server(records), _upper_bound(records), _doubtful(records)


def _sources(records: Sequence[Record]) -> tuple[str, ...]:
    done = [record for record in records if record["status"] == "done"]
    rough = done and all(record.get("precision") == "bfloat16" for record in done)
    mixed = (_mixed(done, column, what) for column, what in _SOURCES.items())
    return *mixed, "Trained and evaluated in bfloat16, with float32 weights." if rough else ""


def meaning(metrics: Sequence[Metric]) -> str:
    """What each of ``metrics`` is."""
    return "; ".join(f"{metric.label}: {metric.meaning}" for metric in metrics) + "."


def _against(name: str | None) -> str:
    return "" if name is None else f"Differences: each defense minus {name}, seed by seed in the same setting."


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


def _settings(records: Sequence[Record], axes: Sequence[str]) -> str:
    """Every setting that is not an axis; those that go with an axis with all their values."""
    phrases = []
    for name in SETTINGS:
        values = list(dict.fromkeys(record[name] for record in records))
        if name in axes or values == [_NEUTRAL.get(name)] or (name in OF_DEFENSE and len(values) > 1):
            continue
        phrases.append(phrase(name, values))
    return f"All cells: {', '.join(phrases)}." if phrases else ""


def _server(records: Sequence[Record]) -> str:
    """The teacher and the server data of each defense that has any."""
    parts: dict[str, list[str]] = {}
    for name in ("teacher", "templates", "server_data", "server_per_class"):
        if len({record[name] for record in records}) > 1:
            for record in records:
                if record[name] is not None:
                    found = parts.setdefault(record["defense_name"], [])
                    text = phrase(name, [record[name]])
                    found += [text] if text not in found else []
    return " ".join(f"{defense}: {', '.join(found)}." for defense, found in sorted(parts.items()))


def _upper_bound(records: Sequence[Record]) -> str:
    held_out = sorted({data for record in records if (data := record["server_data"] or "").startswith("holdout:")})
    if not held_out:
        return ""
    return f"Server data {', '.join(held_out)}: real images that no client holds, an upper bound for generated ones."


def _doubtful(records: Sequence[Record]) -> str:
    """What was seen of server data that should be generated, and are not as far as can be told."""
    found = sorted({label for record in records if (label := str(record.get("server_label"))).startswith("generated,")})
    return f"Server data are {'; '.join(found)}." if found else ""


def _gaps(records: Sequence[Record], seeds: Sequence[Sequence[int]]) -> str:
    failed = sum(record["status"] != "done" for record in records)
    parts = (
        ["n: seeds, where they are fewer than elsewhere."] if len({len(found) for found in seeds if found}) > 1 else []
    )
    parts += [f"{failed} of {len(records)} cells failed."] if failed else []
    return " ".join(parts)


def _mixed(records: Iterable[Record], column: str, what: str) -> str:
    values = sorted({str(value) for record in records if (value := record.get(column)) is not None})
    return f"Cells differ in the {what}: {', '.join(values)}." if len(values) > 1 else ""
