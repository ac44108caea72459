"""Files that are never half-written."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from clipfed_bench.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either what it held before or all of it. Raises UserError."""
    # Not mkstemp: its files are readable by their owner alone, and caches are shared.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
