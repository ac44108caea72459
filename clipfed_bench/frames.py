"""Tidy, typed frames from what the store holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pandas as pd

from clipfed_bench.spec import CellSpec
from clipfed_bench.store import HISTORY_AXES, METRICS
from clipfed_bench.values import parse_choice

if TYPE_CHECKING:
    import pyarrow as pa

_ORDER = ["dataset", "partition", "alpha", "degree", "attack", "defense", "seed", "key"]


def results_frame(payloads: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A row per cell: key, status, spec, metrics, error, created, provenance; sorted by what the cells are.

    ``attack_name`` and ``defense_name`` are the bare names of ``attack`` and ``defense``. A provenance entry called
    like another column is prefixed ``provenance_``; final figures that METRICS does not know are prefixed ``final_``.
    """
    dtypes = {"key": "string", "status": "string"}
    for name, dtype in _spec_dtypes().items():
        dtypes[name] = dtype
        if name in ("attack", "defense"):
            dtypes[f"{name}_name"] = "string"
    dtypes |= dict.fromkeys(METRICS, "float64") | {"error": "string", "created": "string"}
    rows = [_row(payload, set(dtypes)) for payload in payloads]
    for name in (name for row in rows for name in row):
        dtypes.setdefault(name, "float64" if name.startswith("final_") else "string")
    frame = pd.DataFrame({name: _column([row.get(name) for row in rows], dtype) for name, dtype in dtypes.items()})
    ordered: pd.DataFrame = frame.sort_values(_ORDER, kind="stable", ignore_index=True)
    return ordered


def history_frame(tables: Iterable[tuple[dict[str, Any], pa.Table]]) -> pd.DataFrame:
    """A row per evaluation: key and the identifying settings of the cell, then what was measured; by cell and round."""
    import pyarrow as pa

    dtypes = {"key": "string", **{name: _spec_dtypes()[name] for name in HISTORY_AXES}}
    parts: list[pa.Table] = []
    owners: list[dict[str, Any]] = []
    for payload, table in tables:
        parts.append(table.drop_columns([name for name in table.column_names if name in dtypes]))
        owners += [{"key": payload["key"], **payload["spec"]}] * table.num_rows
    left = pd.DataFrame({name: _column([owner.get(name) for owner in owners], dtypes[name]) for name in dtypes})
    right: pd.DataFrame = pa.concat_tables(parts, promote_options="permissive").to_pandas() if parts else pd.DataFrame()
    frame = pd.concat([left, right], axis=1)
    return frame.sort_values([*_ORDER, *right.columns.intersection(["round"])], kind="stable", ignore_index=True)


def _row(payload: dict[str, Any], known: set[str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: payload.get(name) for name in ("key", "status", "error", "created")}
    row |= payload["spec"]
    row |= {f"{kind}_name": parse_choice(row[kind] or "")[0] for kind in ("attack", "defense")}
    row |= {name if name in METRICS else f"final_{name}": value for name, value in payload.get("final", {}).items()}
    provenance = payload["provenance"].items()
    return row | {f"provenance_{name}" if name in known else name: str(value) for name, value in provenance}


def _column(values: list[Any], dtype: str) -> pd.Series[Any]:
    if dtype == "int64" and None in values:  # a setting that the version which stored the cell did not have
        dtype = "Int64"
    series: Any = pd.Series
    column: pd.Series[Any] = series(values, dtype=dtype)
    return column


def _spec_dtypes() -> dict[str, str]:
    by_annotation = {"str": "string", "int": "int64", "float": "float64", "bool": "boolean"}
    dtypes = {}
    for f in fields(CellSpec):
        base, _, optional = str(f.type).partition(" | ")
        dtypes[f.name] = "Int64" if base == "int" and optional else by_annotation[base]
    return dtypes
