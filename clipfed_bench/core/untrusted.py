"""Files that anybody may have written or damaged: whatever is wrong with one is a DamagedFileError.

Readers of JSON and parquet; of tensors it is :mod:`clipfed_bench.toolbox.tensor_files`, of images
:mod:`clipfed_bench.core.image_files`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from clipfed_bench.core.errors import DamagedFileError, UserError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_MOST_BYTES = 20_000_000
"""Of JSON; a cell's has some thousand, and a traceback."""

_MOST_ROWS, _MOST_VALUES = 1_000_000, 100_000_000
"""Of a parquet file that is read as a whole: a few bytes can say very many rows."""


@contextmanager
def reading() -> Iterator[None]:
    """Raise DamagedFileError with the reason for whatever goes wrong inside, but for UserError.

    On damaged bytes libraries raise nearly anything.
    """
    try:
        yield
    except (UserError, DamagedFileError):
        raise
    except Exception as error:
        reason = str(error)
        raise DamagedFileError(reason if reason.strip() else type(error).__name__) from error


def read_json(path: Path, finite: bool = False) -> Any:
    """What the JSON file at ``path`` holds; see :func:`parse_json`.

    Raises FileNotFoundError where there is none, DamagedFileError where it is no file, too large, or no JSON.
    """
    try:
        _check_kind(path)
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFileError(str(error)) from error
    if len(content) > _MOST_BYTES:
        raise DamagedFileError(f"it has more than {_MOST_BYTES:,} bytes")
    return parse_json(content, finite=finite)


def parse_json(content: str | bytes, what: str = "it is", finite: bool = False) -> Any:
    """What JSON ``content`` means, NaN and infinities included unless ``finite``. Raises DamagedFileError.

    ``what`` begins the reason where it is nested too deeply.
    """
    try:
        return json.loads(content, parse_constant=_refuse if finite else None)
    except RecursionError:
        raise DamagedFileError(f"{what} nested too deeply") from None
    except ValueError as error:
        raise DamagedFileError(str(error)) from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


@contextmanager
def parquet_file(path: Path, what: str | None = None) -> Iterator[pq.ParquetFile]:
    """The parquet file at ``path``, open. Raises DamagedFileError, also for what goes wrong inside (but for UserError).

    ``what`` says what its rows are, of which there is a most that there may be; None: the caller bounds what it reads.
    """
    import pyarrow.parquet as pq

    with reading():
        _check_kind(path)
        with pq.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, file.metadata.num_columns
            if what is not None and (rows > _MOST_ROWS or rows * columns > _MOST_VALUES):
                raise DamagedFileError(f"{rows:,} rows are not {what}")
            yield file


def _check_kind(path: Path) -> None:
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise DamagedFileError("it is no file")
