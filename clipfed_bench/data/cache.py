"""Decoded arrays on disk, so that images are decoded once per machine.

One uncompressed ``.npz`` per source in ``<cache>/arrays``, named by a hash of the names and contents of the source's
files, and of the code that reads them. Files are written under a name of their own and then renamed, so readers never
see half a file and two processes that decode at once both succeed. A damaged file is decoded anew. Pixels are mapped,
not read: processes of a machine share their memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipfed_bench.core.errors import DamagedFileError, DataError, UserError, shown
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.paths import cache_root
from clipfed_bench.core.sources import code, current
from clipfed_bench.core.untrusted import reading

Arrays = dict[str, npt.NDArray[Any]]

_VERSION = "3"
"""Part of every key; changes with what is stored."""

_READERS = ("clipfed_bench.data.datasets", "clipfed_bench.data.server_set.load")


def source_key(purpose: str, files: Iterable[Path], *readers: str) -> str:
    """The cache key of what is decoded from ``files`` for ``purpose`` (which states data set, size and split).

    ``readers``: modules that do so besides those that read every data set.

    Raises DataError for a file that is a dead link.
    """
    digest = hashlib.sha256(f"{_VERSION}\n{purpose}\n{code(*_READERS, *readers)}\n".encode())
    for path in sorted(files):
        try:
            digest.update(os.fsencode(os.path.realpath(path)) + f"\t{current(path)[0]}\n".encode())
        except OSError as error:
            raise DataError(f"{shown(path)}: cannot be read ({error.strerror}).") from None
    return digest.hexdigest()[:32]


def cached(key: str, build: Callable[[], Mapping[str, npt.NDArray[Any]]]) -> Arrays:
    """The arrays stored under ``key``; built and stored first if they are not there or damaged.

    A cache folder that cannot be written costs time, never a run.
    """
    path = cache_root() / "arrays" / f"{key}.npz"
    with contextlib.suppress(DamagedFileError), reading():
        return _mapped(path)
    arrays = dict(build())
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    with contextlib.suppress(UserError):
        write_atomically(path, buffer.getvalue())
    return arrays


def _mapped(path: Path) -> Arrays:
    """The arrays of an uncompressed ``.npz``. Bytes stay in the file until they are used; writing changes a copy."""
    whole, arrays = np.memmap(path, mode="c"), {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            names = whole[member.header_offset + 26 : member.header_offset + 30].view("<u2")
            start = member.header_offset + 30 + int(names.sum())  # a local header is 30 bytes and two names
            content = whole[start : start + member.file_size]
            if member.compress_type != zipfile.ZIP_STORED or zlib.crc32(content.data) != member.CRC:
                raise ValueError(f"{member.filename} is damaged")
            header = io.BytesIO(content[:1000].tobytes())
            np.lib.format.read_magic(header)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(header)
            values = content[header.tell() :].view(np.ndarray)
            array = values if dtype == np.uint8 else np.frombuffer(bytearray(values), dtype)
            arrays[member.filename.removesuffix(".npy")] = array.reshape(shape, order="F" if fortran else "C")
    return arrays
