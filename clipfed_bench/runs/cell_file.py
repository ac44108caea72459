"""The json of a cell as it comes from the disk: by whomever it was written, it is checked before it counts."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from clipfed_bench.components.choice import stored
from clipfed_bench.components.described import OF_CELL
from clipfed_bench.config.cell_spec import CellSpec, value_type
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.untrusted import read_json
from clipfed_bench.core.values import convert
from clipfed_bench.runs.metrics import METRICS
from clipfed_bench.runs.schema import FORMAT

_FRACTIONS = frozenset(name for name, metric in METRICS.items() if metric.kind == "fraction")


def read_cell(path: Path, key: str) -> dict[str, Any]:
    """The content of the json of cell ``key``: spec converted, figures numbers, all else text.

    Raises OSError or ValueError where it does not count: no json of a cell, of another cell or version, or with
    anything in it that no cell can have.
    """
    payload = read_json(path, finite=True)
    if not isinstance(payload, dict) or payload.get("format") != FORMAT or payload.get("key") != key:
        raise ValueError(f"it is not the json of cell {key} in format {FORMAT}")
    spec, provenance = payload.get("spec"), payload.get("provenance")
    if not isinstance(spec, dict) or not isinstance(provenance, dict):
        raise ValueError("it has no spec or no provenance")
    found: dict[str, Any] = {
        "key": key,
        "status": payload.get("status"),
        "created": _text(payload, "created"),
        "spec": _settings(spec),
        "provenance": {_name(name): shown(value, 100_000) for name, value in provenance.items()},
    }
    if found["status"] == "failed" and isinstance(payload.get("error"), str):
        return found | {"error": _text(payload, "error"), "traceback": str(payload.get("traceback", ""))}
    if found["status"] != "done" or not isinstance(payload.get("final"), dict):
        raise ValueError("it has neither a result nor an error")
    found["history"] = _text(payload, "history")  # digest of the parquet file; None in files of older versions
    return found | {"final": {_name(name): _figure(name, value) for name, value in payload["final"].items()}}


def _text(payload: dict[str, Any], name: str) -> str | None:
    value = payload.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"its {name} is not text")
    return None if value is None else shown(value, 100_000)


def _name(name: str) -> str:
    """``name`` if it can name a column."""
    if not name.isprintable() or not 0 < len(name) <= 100:
        raise ValueError(f"'{shown(name)}' cannot name a column")
    return name


def _figure(name: str, value: Any) -> float | None:
    """A final figure; None stands for NaN."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"its final figures are not numbers: {shown(name)} is '{shown(value)}'")
    if name in _FRACTIONS and not 0 <= value <= 1:
        raise ValueError(f"its {name} is {shown(value)}, not a fraction from 0 to 1")
    return value


def _settings(spec: dict[str, Any]) -> dict[str, Any]:
    """The settings that this version knows, checked; those it does not find are neutral, or None. Raises ValueError.

    ``attack_name`` and ``defense_name`` are the bare names of ``attack`` and ``defense``, which are labels.
    """
    try:
        found = {
            f.name: convert(spec[f.name], value_type(f), f.name) if f.name in spec else f.metadata.get("neutral")
            for f in fields(CellSpec)
        }
        names = {f"{kind}_name": stored(kind, found[kind] or "").name for kind in OF_CELL}
        unnamed = [names.pop(f"{kind}_name") for kind in ("partition", "model")]
    except UserError as error:
        raise ValueError(str(error)) from error
    for name in (*names.values(), *unnamed, found["dataset"] or ""):
        if not re.fullmatch(r"[A-Za-z0-9_-]*(:[A-Za-z0-9._-]+)?", name):  # byzfl:Krum is of a family
            raise ValueError(f"'{shown(name)}' is no name of an attack, a defense, a data set, a partition or a model")
    return found | names
