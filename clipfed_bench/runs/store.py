"""Where results live: one json and one parquet file for each cell, and tidy frames of all of them.

``cells/<key>.json`` holds what a cell is and came to, ``cells/<key>.parquet`` its evaluations. Every file is written
beside its place and moved there, the json last: a cell counts as done once a complete json says so and a complete
parquet file lies beside it. So a crash leaves a cell undone, and two processes that write the same cell do no harm.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.files import write_atomically
from clipfed_bench.runs.cell_file import read_cell
from clipfed_bench.runs.digests import recorded
from clipfed_bench.runs.schema import FORMAT

if TYPE_CHECKING:
    import pandas as pd

    from clipfed_bench.core.messages import CellResult

_KEY = re.compile(r"[0-9a-f]{16}")


class RunStore:
    """The results of a run folder. ``warnings`` lists the files that the last reading could not use, and why."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.warnings: list[str] = []

    @property
    def cells(self) -> Path:
        """The folder of the cells' files; it is made when the first one is stored."""
        return self.folder / "cells"

    def put(self, spec: CellSpec, result: CellResult) -> None:
        """Store a finished cell. Metrics that are not finite are stored as null and read back as NaN.

        Raises UserError where the run folder cannot be written.
        """
        history, final = _parquet(result.history), {k: _finite(v) for k, v in result.final.items()}
        write_atomically(self._path(spec.key, "parquet"), history)
        self._commit(spec, "done", result.provenance, final=final, history=sha256(history).hexdigest())

    def put_failure(self, spec: CellSpec, error: str, traceback: str, provenance: Mapping[str, str]) -> None:
        """Store that a cell failed, with the error in one line. A failure never replaces a result that is there."""
        if self.status(spec.key) != "done":
            self._commit(spec, "failed", provenance, error=" ".join(error.split()), traceback=traceback)

    def status(self, key: str) -> Literal["done", "failed"] | None:
        """``done`` or ``failed`` by complete files alone, else None. Raises UserError for what is not a key."""
        try:
            payload = self._load(key)
        except (OSError, ValueError):
            return None
        return "done" if payload["status"] == "done" else "failed"

    def statuses(self, keys: Iterable[str]) -> dict[str, str]:
        """The status of each of ``keys`` that has one."""
        found = ((key, self.status(key)) for key in keys)
        return {key: status for key, status in found if status is not None}

    def digests(self, key: str) -> dict[str, str]:
        """Of what a cell was computed from, by name (:mod:`clipfed_bench.runs.digests`); none of one without status."""
        try:
            return recorded(self._load(key)["provenance"])
        except (OSError, ValueError):
            return {}

    def broken(self, keys: Iterable[str]) -> list[str]:
        """Why those of ``keys`` that have a json do not count where they do not, a line for each."""
        found = []
        for key in keys:
            try:
                if self._path(key, "json").exists():
                    self._load(key)
            except (OSError, ValueError) as error:
                found.append(f"{self.cells / key}.json or .parquet cannot be used: {error}")
        return found

    def failure(self, key: str) -> tuple[str, str] | None:
        """Error and traceback of a failed cell, None for any other."""
        if self.status(key) != "failed":
            return None
        payload = self._load(key)
        return payload["error"], payload["traceback"]

    def frames(self, keys: Iterable[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Results (a row per cell) and history (a row per evaluation) of ``keys``, by default of all cells there are.

        Fractions, not per cent. Failed cells are rows of the results whose metrics are NaN. Cells without a usable
        file are left out; ``warnings`` names the files that are there and broken.
        """
        from clipfed_bench.runs.frames import history_frame, results_frame

        self.warnings = []
        payloads, tables = [], []
        for key in self._keys() if keys is None else keys:
            try:
                payload = self._load(key)
                table = self._read_history(key) if payload["status"] == "done" else None
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                self.warnings.append(f"{self.cells / key}.json or .parquet is left out: {shown(error, 300)}")
                continue
            payloads.append(payload)
            if table is not None:
                tables.append((payload, table))
        return results_frame(payloads), history_frame(tables)

    def export(self, keys: Iterable[str] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Write ``results.parquet`` and ``history.parquet`` into the run folder, each in one step; :meth:`frames`."""
        from io import BytesIO

        results, history = self.frames(keys)
        for name, frame in (("results", results), ("history", history)):
            buffer = BytesIO()
            frame.to_parquet(buffer, index=False)
            write_atomically(self.folder / f"{name}.parquet", buffer.getvalue())
        return results, history

    def _path(self, key: str, suffix: str) -> Path:
        if not _KEY.fullmatch(key):
            raise UserError(f"'{shown(key)}' is not the key of a cell; a key is 16 hexadecimal digits in lower case.")
        return self.cells / f"{key}.{suffix}"

    def _commit(self, spec: CellSpec, status: str, provenance: Mapping[str, str], **more: Any) -> None:
        payload = {
            "format": FORMAT,
            "key": spec.key,
            "status": status,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "spec": spec.as_dict(),
            **more,
            "provenance": dict(provenance),
        }
        text = json.dumps(payload, indent=1, allow_nan=False)
        write_atomically(self._path(spec.key, "json"), text.encode())

    def _keys(self) -> Iterator[str]:
        for path in sorted(self.cells.glob("*.json")):
            if _KEY.fullmatch(path.stem):
                yield path.stem
            elif not path.name.startswith("."):
                self.warnings.append(f"{shown(path, 300)} is left out: it is not named by the key of a cell.")

    def _load(self, key: str) -> dict[str, Any]:
        """The checked content of a cell's json. Raises OSError or ValueError where it does not count."""
        payload = read_cell(self._path(key, "json"), key)
        if payload["status"] == "done":
            _check_parquet(self._path(key, "parquet"), payload.get("history"))
        return payload

    def _read_history(self, key: str) -> Any:
        from clipfed_bench.runs.frames import read_history

        return read_history(self._path(key, "parquet"))


def _parquet(history: list[dict[str, float | int]]) -> bytes:
    from io import BytesIO

    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in history for name in row))
    buffer = BytesIO()
    pq.write_table(pa.table({name: [row.get(name) for row in history] for name in names}), buffer)
    return buffer.getvalue()


def _check_parquet(path: Path, digest: str | None) -> None:
    """Raises OSError or ValueError unless the file is the one with ``digest``; None: unless it is a whole parquet file.

    Such a file ends with its footer's length and a magic word; one that was cut off does not.
    """
    if not path.is_file():  # a pipe would keep us waiting
        raise FileNotFoundError(f"{path.name} is not there, or no file")
    content = path.read_bytes()
    size, tail = len(content), content[-8:]
    if size < 12 or content[:4] != b"PAR1" or tail[4:] != b"PAR1" or int.from_bytes(tail[:4], "little") > size - 12:
        raise ValueError(f"{path.name} is not a complete parquet file")
    if digest is not None and sha256(content).hexdigest() != digest:
        raise ValueError(f"{path.name} is not the file that was stored")


def _finite(value: float) -> float | int | None:
    return value if math.isfinite(value) else None
