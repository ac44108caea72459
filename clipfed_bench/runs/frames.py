"""Tidy, typed frames from what the store holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from clipfed_bench.config.cell_spec import CellSpec, value_type
from clipfed_bench.core.errors import DamagedFileError, UserError, shown
from clipfed_bench.core.untrusted import parquet_file
from clipfed_bench.runs.metric_catalog import metrics
from clipfed_bench.runs.metrics import METRICS
from clipfed_bench.runs.schema import HISTORY_AXES

if TYPE_CHECKING:
    import pyarrow as pa

_ORDER = ["dataset", "partition", "alpha", "degree", "attack", "defense", "seed", "key"]


def results_frame(payloads: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A row per cell: key, status, spec, metrics, error, created, provenance; sorted by what the cells are.

    ``attack_name`` and ``defense_name`` are the bare names of ``attack`` and ``defense``. A provenance entry called
    like another column is prefixed ``provenance_``; final figures that are no metrics here are prefixed ``final_``.
    """
    dtypes, figures = _result_dtypes(), set(metrics())
    rows = [_row(payload, {*dtypes, *figures}, figures) for payload in payloads]
    for name in (name for row in rows for name in row):
        dtypes.setdefault(name, "float64" if name in figures or name.startswith("final_") else "string")
    frame = pd.DataFrame({name: _column([row.get(name) for row in rows], dtype) for name, dtype in dtypes.items()})
    ordered: pd.DataFrame = frame.sort_values(_ORDER, kind="stable", ignore_index=True)
    return ordered


def read_results(path: Path) -> pd.DataFrame:
    """The frame of :func:`results_frame` from a parquet file that may be anybody's.

    Known columns have their types, and no text has characters that a terminal would obey. Raises UserError for what is
    no parquet file, or has columns of other types.
    """
    try:
        with parquet_file(path, "the cells of a run"):
            frame = pd.read_parquet(path)
    except DamagedFileError as error:
        raise UserError(f"{shown(path)} is not a readable parquet file: {shown(error, 300)}") from None
    return typed(frame, path)


def typed(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """``frame``, read from ``path``, with known columns of their types and harmless texts. Raises UserError."""
    for name, dtype in (_result_dtypes() | dict.fromkeys(metrics(), "float64")).items():
        if name in frame:
            try:
                if dtype == "string" and (kind := pd.api.types.infer_dtype(frame[name])) not in ("string", "empty"):
                    raise TypeError(f"it holds values of the kind {kind}")
                frame[name] = _harmless(frame[name]).astype("Int64" if dtype == "int64" else dtype)  # type: ignore[call-overload]
            except (TypeError, ValueError, OverflowError) as error:
                raise UserError(f"{shown(path)}: column {name} is not {dtype}: {shown(error)}.") from None
    return frame


def read_history(path: Path) -> pa.Table:
    """The evaluations of a cell: columns of int64 or float64, or of nulls. Raises DamagedFileError."""
    import pyarrow as pa
    from pyarrow import types

    with parquet_file(path, "the evaluations of a cell") as file:
        table = file.read(use_threads=False)
        if len(set(table.column_names)) < table.num_columns:
            raise DamagedFileError("two columns have one name")
        for index, column in enumerate(table.schema):
            if not column.name.isprintable() or len(column.name) > 100:
                raise DamagedFileError(f"'{shown(column.name)}' cannot name a column")
            kind = pa.int64() if types.is_integer(column.type) else pa.float64()
            if types.is_integer(column.type) or types.is_floating(column.type):
                table = table.set_column(index, column.name, table.column(index).cast(kind))
            elif not types.is_null(column.type):
                raise DamagedFileError(f"the history's column {column.name} does not hold numbers")
        return table


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


def _row(payload: dict[str, Any], known: set[str], figures: set[str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: payload.get(name) for name in ("key", "status", "error", "created")}
    row |= payload["spec"]
    row |= {name if name in figures else f"final_{name}": value for name, value in payload.get("final", {}).items()}
    provenance = payload["provenance"].items()
    # Names of figures are theirs: no text of the same name may take their column.
    taken = (name for name, _ in provenance if name in known or name.startswith("final_"))
    apart = dict.fromkeys(taken, "provenance_")
    return row | {apart.get(name, "") + name: str(value) for name, value in provenance}


def _harmless(column: pd.Series[Any]) -> pd.Series[Any]:
    """``column`` with its texts as :func:`clipfed_bench.core.errors.shown`."""
    return column.map(lambda value: shown(value, 100_000) if isinstance(value, str) else value)


def _column(values: list[Any], dtype: str) -> pd.Series[Any]:
    if dtype == "int64" and None in values:  # a setting that the version which stored the cell did not have
        dtype = "Int64"
    series: Any = pd.Series
    column: pd.Series[Any] = series(values, dtype=dtype)
    return column


def _result_dtypes() -> dict[str, str]:
    dtypes = {"key": "string", "status": "string"}
    for name, dtype in _spec_dtypes().items():
        dtypes[name] = dtype
        if name in ("attack", "defense"):
            dtypes[f"{name}_name"] = "string"
    return dtypes | dict.fromkeys(METRICS, "float64") | {"error": "string", "created": "string"}


def _spec_dtypes() -> dict[str, str]:
    by_annotation = {"str": "string", "int": "int64", "float": "float64", "bool": "boolean"}
    dtypes = {}
    for f in fields(CellSpec):
        base, _, optional = value_type(f).partition(" | ")
        dtypes[f.name] = "Int64" if base == "int" and optional else by_annotation[base]
    return dtypes
