"""Files that are never half-written."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from clipfed_bench.core.errors import UserError, shown


def read_text(path: Path, most: int, what: str) -> str:
    """The UTF-8 text of a user's file of at most ``most`` bytes. Raises UserError, in which ``what`` names the file."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise UserError(f"{what}: there is no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{what}: cannot be read as text ({reason}).") from None
    if len(content) > most:
        raise UserError(f"{what}: larger than {most:,} bytes, so it is not what is needed here.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{what}: cannot be read as text ({error}); UTF-8 is needed.") from None


def check_place(path: Path, what: str) -> None:
    """Raise UserError where no file can be, in place of a folder or below a file: before the work of which it tells."""
    below = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None)
    if path.is_dir() or below is not None:
        kind = "a folder" if below is None else "no folder"
        raise UserError(f"{what} {shown(path)}: a file cannot be written there; {shown(below or path)} is {kind}.")


def expand(path: str | Path, what: str) -> Path:
    """``path`` with ``~`` and ``~user`` in full. Raises UserError for a user who has no home here."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{what}: '{shown(path)}' begins with a user that is not known here.") from None


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
