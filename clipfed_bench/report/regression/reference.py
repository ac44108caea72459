"""Reference results: one parquet file with what each cell of a run came to, on what, and why it is the reference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipfed_bench.core.errors import DamagedFileError, UserError, shown
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.provenance import PACKAGES
from clipfed_bench.core.untrusted import parquet_file, parse_json
from clipfed_bench.report.tables.axes import SETTINGS, Record
from clipfed_bench.report.tables.table import plain_records, to_records
from clipfed_bench.runs.digests import OF, PREFIX
from clipfed_bench.runs.metrics import METRICS

FIGURES = tuple(name for name, metric in METRICS.items() if metric.floor is not None)
"""Final figures that do not depend on the machine's speed."""

PLATFORM = (
    *("device", "precision", "kernels", "machine", "cpu_id", "cpu_capability"),
    *(f"version_{name.replace('-', '_')}" for name in PACKAGES if name != "clipfed-bench"),
)
"""Provenance of cells that come to the same bits if nothing else differs."""

DIGESTS = tuple(PREFIX + name for name in OF)
"""Of what a cell was computed from; older references have none."""

MIN_SEEDS = 3
"""Seeds of each setting that tolerances for other machines need."""

_FORMAT = 1
_META = b"clipfed_bench_reference"


@dataclass(frozen=True)
class Reference:
    """What numbers are compared with."""

    records: tuple[Record, ...]
    """A cell each: key, settings, seed, FIGURES, PLATFORM, git_sha, DIGESTS; None for what is not known."""
    reason: str
    created: str
    """Date and time, UTC, ISO 8601."""
    git_sha: str
    """Source that made the cells; several are joined by commas."""

    @property
    def text(self) -> str:
        """In one line, for people."""
        return f"of {self.created[:10]}, source {short_sha(self.git_sha)}: {self.reason}"


def default_path(preset: str) -> Path:
    """Where the reference of a preset is that comes with the package; it need not be there."""
    return Path(str(files("results.reference"))) / f"{preset}.parquet"


def write_reference(path: Path, results: pd.DataFrame, reason: str) -> None:
    """Make ``results`` (see :meth:`clipfed_bench.runs.store.RunStore.frames`) the reference at ``path``.

    ``reason``, the date, the source and all versions go into the file's metadata. Raises UserError where there is no
    reason, where cells failed, and where the file cannot be written.
    """
    records = to_records(results)
    if not reason.strip():
        raise UserError("--reason: a reference needs a reason; say why the numbers changed, or why there are new ones.")
    failed = sum(record["status"] != "done" for record in records)
    if failed:
        raise UserError(f"{failed} of {len(records)} cells failed; a reference needs all of them.")
    kept = [name for name in ("key", *SETTINGS, "seed", *FIGURES, *PLATFORM, "git_sha", *DIGESTS) if name in results]
    facts = {
        "format": _FORMAT,
        "reason": " ".join(reason.split()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_sha": ", ".join(_values(records, "git_sha")),
        "versions": {
            name: ", ".join(_values(records, str(name))) for name in results if str(name).startswith("version_")
        },
        "platform": ", ".join(_values(records, "platform")),
    }
    table = pa.Table.from_pandas(results[kept], preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _META: json.dumps(facts).encode()})
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def read_reference(path: Path) -> Reference:
    """The reference at ``path``. Raises UserError where there is none, or it is of another format."""
    if not path.is_file():
        raise UserError(
            f"there is no reference {path}; to make it: clipfed-bench regress --update --reason TEXT --reference {path}"
        )
    try:
        with parquet_file(path, "the cells of a run") as file:
            return _reference(file.read(), path)
    except (DamagedFileError, UserError) as error:
        raise UserError(f"{shown(path)} is not a reference that this version can read: {shown(error, 300)}") from None


def _reference(table: pa.Table, path: Path) -> Reference:
    """The content of the file at ``path``, checked. Raises DamagedFileError, UserError, and what pandas raises."""
    from clipfed_bench.runs.frames import typed

    metadata = table.schema.metadata or {}
    if _META not in metadata:
        raise DamagedFileError("it does not say why and when it was made")
    facts = _facts(metadata[_META])
    records = plain_records(typed(table.to_pandas(), path))
    absent = [name for name in ("key", "attack", "defense", "seed", "mta", "asr") if name not in table.column_names]
    if absent or not records:
        raise DamagedFileError(f"it has no column {', '.join(absent)}" if absent else "it has no cells")
    return Reference(tuple(records), facts["reason"], facts["created"], facts["git_sha"])


def _facts(content: bytes) -> dict[str, str]:
    """The metadata, checked. Raises DamagedFileError."""
    facts = parse_json(content, "its metadata are")
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        found = shown(facts.get("format")) if isinstance(facts, dict) else "none"
        raise DamagedFileError(f"its format is {found}, not {_FORMAT}")
    for name in ("reason", "created", "git_sha"):
        if not isinstance(facts.get(name), str):
            raise DamagedFileError(f"its metadata have no text called {name}")
    return {name: shown(value, 1000) for name, value in facts.items()}


def seeds_by_setting(records: Sequence[Record]) -> dict[tuple[Any, ...], list[Record]]:
    """Cells that differ in nothing but the seed."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record.get(name) for name in SETTINGS), []).append(record)
    return groups


def short_sha(text: str) -> str:
    """SHAs, joined by commas, cut to nine digits each; ``-dirty`` stays."""
    parts = (sha.strip().partition("-") for sha in text.split(","))
    return ", ".join(f"{sha[:9]}{dash}{rest}" for sha, dash, rest in parts)


def _values(records: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    return sorted({str(value) for record in records if (value := record.get(column)) is not None})
