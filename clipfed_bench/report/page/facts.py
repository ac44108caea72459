"""What was run, and what stands behind its numbers: versions, machines, kinds of defaults, cells that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from clipfed_bench.components.registry import models
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import distinct, failed, phrases, spoken
from clipfed_bench.core.errors import DamagedFileError
from clipfed_bench.core.untrusted import parse_json
from clipfed_bench.core.work_counts import plural
from clipfed_bench.report.tables.axes import Record, rank
from clipfed_bench.runs.metrics import METRICS

_TERMS = (
    ("Data set", "dataset", ("imbalance_factor",)),
    ("Partition", "partition", ("alpha", "degree", "min_samples")),
    ("Model", "model", ()),
    ("Clients", "clients", ("clients_per_round", "malicious", "malicious_sampling")),
    ("Rounds", "rounds", ("warmup_rounds", "eval_every")),
    ("Local training", None, ("local_epochs", "batch_size", "lr", "momentum", "weight_decay")),
    ("Attacks", "attack", ("target", "poison_ratio", "poison_rounding", "attack_scale", "attack_start", "attack_stop")),
    ("Defenses", "defense", ()),
    ("Teacher", "teacher", ("templates",)),
    ("Server data", "server_data", ("server_per_class",)),
    ("Seeds", "seed", ()),
)
"""What a term is called, the setting whose values stand there bare, and those that are named beside it."""

_NOT_PROVENANCE = {
    *(f.name for f in fields(CellSpec)),
    *METRICS,
    *("key", "status", "attack_name", "defense_name", "error", "created", "defaults", "warmup_key"),
}
_FIRST = ("git_sha", "version_clipfed_bench", "device", "device_name", "cpu", "platform", "version_python")
_NAMES = {
    "git_sha": "git SHA of the source",
    "cpu": "CPU",
    "server_hash": "server data, hash",
    "server_label": "server data",
}
ORIGINS = {"paper": "the paper", "lineage": "the published code it comes from", "ours": "this project"}
"""Kinds of defaults, and what they mean."""


@dataclass(frozen=True)
class Fact:
    """An entry of the provenance."""

    name: str
    values: tuple[tuple[str, int], ...]
    """Each value with the number of cells that have it."""
    shared: bool
    """All cells have the one value."""


def lead(records: Sequence[Record]) -> str:
    """``4 attacks × 4 defenses × 2 values of alpha × 2 seeds: 64 cells, all of them done.``"""
    axes = {"attack": "attack", "defense": "defense", "alpha": "value of alpha", "degree": "degree", "seed": "seed"}
    counts = ((len(_values(records, name)), word) for name, word in axes.items())
    shape = " × ".join(plural(count, word) for count, word in counts if count)
    lost = sum(record["status"] != "done" for record in records)
    done = "all of them done" if not lost else f"{len(records) - lost} done, {lost} failed"
    if len(records) == 1:
        done = "failed" if lost else "done"
    return f"{shape}: {plural(len(records), 'cell')}, {done}."


def what_was_run(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Terms and what they are in this run; several values of a setting stand side by side."""
    found, known = [], models()
    for term, bare, others in _TERMS:
        values = [spoken(bare, value) for value in _values(records, bare)] if bare else []
        texts = [known[value].summary if value in known else value for value in values]
        found.append((term, ", ".join([*texts, *phrases(records, others)]) or "none"))
    return found


def _values(records: Sequence[Record], name: str) -> list[Any]:
    return sorted(distinct(records, name), key=rank)


def provenance(records: Sequence[Record]) -> list[Fact]:
    """Every column that is no setting and no figure, with its values."""
    names = [name for record in records[:1] for name in record if name not in _NOT_PROVENANCE]
    names = [name for name in names if not name.startswith("final_")]
    facts = []
    for name in sorted(names, key=lambda n: _FIRST.index(n) if n in _FIRST else len(_FIRST)):
        # A number is a figure, of a metric that is not installed here.
        counts = Counter(value for record in records if isinstance(value := record[name], str))
        if counts:
            shared = len(counts) == 1 and counts.total() == len(records)
            facts.append(Fact(_spoken(name), tuple(counts.most_common()), shared))
    created = sorted(str(record["created"]) for record in records if record.get("created") is not None)
    if created:
        span = created[0] if created[0] == created[-1] else f"{created[0]} to {created[-1]}"
        facts.insert(0, Fact("stored", ((span, len(created)),), len(created) == len(records)))
    return facts


def defaults(records: Sequence[Record]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Kind of default -> whose settings (``cell``, a component) -> their names.

    A setting counts if it was left at its default in any cell.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    for record in records:
        for name, origin in _parsed(record.get("defaults")).items():
            kind, dot, option = name.partition(".")
            owner = str(record.get(f"{kind}_name", record.get(kind))) if dot else "cell"
            found.setdefault(origin, {}).setdefault(owner, {})[option if dot else name] = None
    known = [*(o for o in ORIGINS if o in found), *sorted(o for o in found if o not in ORIGINS)]
    return [(origin, [(owner, list(names)) for owner, names in found[origin].items()]) for origin in known]


def failures(records: Sequence[Record]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Error -> the cells that failed with it, in words and by key; the most frequent error first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for record in records:
        if record["status"] != "done":
            cells = found.setdefault(str(record.get("error") or "no error text"), [])
            cells.append((failed(record), str(record["key"])))
    return sorted(found.items(), key=lambda item: -len(item[1]))


def _parsed(text: object) -> dict[str, str]:
    """The provenance's ``defaults``; nothing where it is not what this version writes."""
    try:
        found = parse_json(str(text))
    except DamagedFileError:
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _spoken(name: str) -> str:
    if name.startswith("version_"):
        return f"version of {name.removeprefix('version_').replace('_', '-')}"
    return _NAMES.get(name, name.replace("_", " "))
