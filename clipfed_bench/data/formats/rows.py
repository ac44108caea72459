"""Files of rows: parquet, and Arrow's own as the library ``datasets`` saves and caches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfed_bench.core.errors import DataError
from clipfed_bench.core.untrusted import parquet_file, reading

if TYPE_CHECKING:  # it starts a thread, which does not go with forked workers
    import pyarrow as pa

SUFFIXES = (".parquet", ".arrow")

_EXPANDS = 2**26
"""Bytes of a column that may expand to more than a hundred times its size in the file; images hardly do."""


@dataclass(frozen=True)
class Rows:
    """An open file."""

    schema: pa.Schema
    count: int
    batches: Callable[[Sequence[str], int], Iterator[pa.RecordBatch]]
    """Of some columns, at most so many rows at a time."""
    expanding: Sequence[tuple[str, int, int]] = ()
    """Columns that expand more than images do: name, and bytes before and after."""


@contextmanager
def opened(path: Path) -> Iterator[Rows]:
    """The rows of ``path``. Raises DamagedFileError, also for what goes wrong inside (but for UserError)."""
    if path.suffix == ".arrow":
        import pyarrow as pa

        with reading(), pa.memory_map(str(path)) as file:
            # A file that was finished has a footer; what `datasets` writes is a stream and has none.
            made = pa.ipc.open_file if file.read(6) == b"ARROW1" else pa.ipc.open_stream
            yield _arrow(file, made)
        return
    with parquet_file(path) as file:
        columns = [
            group.column(index)
            for group in map(file.metadata.row_group, range(file.metadata.num_row_groups))
            for index in range(file.metadata.num_columns)
        ]
        sizes = [(c.path_in_schema, c.total_compressed_size, c.total_uncompressed_size) for c in columns]
        yield Rows(
            file.schema_arrow,
            file.metadata.num_rows,
            lambda columns, size: file.iter_batches(size, columns=list(columns), use_threads=False),
            [(name, size, large) for name, size, large in sizes if large > max(_EXPANDS, 100 * size)],
        )


def check_size(rows: Rows, where: Path) -> None:
    """Raise DataError for a column that expands as no images do."""
    for name, size, large in rows.expanding:
        raise DataError(f"{where}: column '{name}' expands from {size:,} to {large:,} bytes; not read.")


def _arrow(file: Any, made: Callable[[Any], Any]) -> Rows:
    def parts() -> Iterator[pa.RecordBatch]:
        file.seek(0)
        reader = made(file)
        if hasattr(reader, "num_record_batches"):
            yield from map(reader.get_batch, range(reader.num_record_batches))
        else:
            yield from reader

    def batches(columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        for part in parts():
            chosen = part.select(list(columns))
            chosen.validate(full=True)  # lengths and offsets are the file's word, and nothing has checked them
            yield from (chosen.slice(start, size) for start in range(0, len(chosen), size))

    file.seek(0)
    return Rows(made(file).schema, sum(map(len, parts())), batches)
