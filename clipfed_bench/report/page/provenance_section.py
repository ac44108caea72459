"""What stands behind the numbers of a run: versions, machines, sources, kinds of defaults, and cells that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import failed
from clipfed_bench.core.errors import DamagedFileError
from clipfed_bench.core.untrusted import parse_json
from clipfed_bench.report.tables.axes import Record
from clipfed_bench.runs.metrics import METRICS

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


@dataclass(frozen=True)
class Failure:
    """Cells that failed with one error."""

    error: str
    cells: tuple[tuple[str, str], ...]
    """What the cell is, and its key."""


def provenance(records: Sequence[Record]) -> list[Fact]:
    """Every column that is no setting and no figure, with its values."""
    names = [name for record in records[:1] for name in record if name not in _NOT_PROVENANCE]
    names = [name for name in names if not name.startswith("final_")]
    facts = []
    for name in sorted(names, key=lambda n: _FIRST.index(n) if n in _FIRST else len(_FIRST)):
        counts = Counter(str(value) for record in records if (value := record[name]) is not None)
        if counts:
            shared = len(counts) == 1 and counts.total() == len(records)
            facts.append(Fact(_spoken(name), tuple(counts.most_common()), shared))
    created = sorted(str(record["created"]) for record in records if record.get("created") is not None)
    if created:
        span = created[0] if created[0] == created[-1] else f"{created[0]} to {created[-1]}"
        facts.insert(0, Fact("stored", ((span, len(created)),), len(created) == len(records)))
    return facts


def defaults(records: Sequence[Record]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Kind of default -> whose settings (``cell``, an attack, a defense) -> their names.

    A setting counts if it was left at its default in any cell.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    for record in records:
        for name, origin in _parsed(record.get("defaults")).items():
            kind, dot, option = name.partition(".")
            owner = str(record.get(f"{kind}_name")) if dot else "cell"
            found.setdefault(origin, {}).setdefault(owner, {})[option if dot else name] = None
    known = [*(o for o in ORIGINS if o in found), *sorted(o for o in found if o not in ORIGINS)]
    return [(origin, [(owner, list(names)) for owner, names in found[origin].items()]) for origin in known]


def failures(records: Sequence[Record]) -> list[Failure]:
    """Cells that failed, by their errors; the most frequent first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for record in records:
        if record["status"] != "done":
            found.setdefault(str(record.get("error") or "no error text"), []).append(
                (failed(record), str(record["key"]))
            )
    return [Failure(error, tuple(cells)) for error, cells in sorted(found.items(), key=lambda item: -len(item[1]))]


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
