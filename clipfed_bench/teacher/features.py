"""Tensors on disk by content hash, so that no process computes a feature that another one has."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from clipfed_bench.core.errors import DamagedFileError, UserError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.locks import locked as lock_file
from clipfed_bench.core.sources import current
from clipfed_bench.toolbox.tensor_files import read_tensors


def digest(*parts: str | bytes | Tensor) -> str:
    """sha256 over texts, bytes and tensors (dtype, shape and values), each told apart from its neighbors."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            array = part.detach().cpu().contiguous().numpy()
            total.update(f"{array.dtype} {array.shape}\n".encode())
            total.update(array.tobytes())
        else:
            data = part.encode() if isinstance(part, str) else part
            total.update(f"{type(part).__name__} {len(data)}\n".encode() + data)
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, once in a process for as long as the file is not written."""
    return current(path)[0]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path``.lock, so that of several processes one works while the others wait for its result.

    Where the folder takes no lock (read-only, some network file systems) all of them work; the results are equal. So
    they are where the lock is removed, which it is when the work fails: a mistake leaves no files behind.
    """
    absent = [folder for folder in path.parents if not folder.exists()]
    try:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock_file(Path(f"{path}.lock")))
            yield
    except Exception:
        with contextlib.suppress(OSError):
            Path(f"{path}.lock").unlink(missing_ok=True)
            for folder in absent:
                folder.rmdir()
        raise


class TensorCache:
    """Named CPU tensors under ``folder``, one safetensors file for each key.

    A damaged file is built anew; a folder that cannot be written costs time, never a run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(
        self,
        key: str,
        build: Callable[[], Mapping[str, Tensor]],
        usable: Callable[[Mapping[str, Tensor]], bool] = bool,
    ) -> dict[str, Tensor]:
        """The tensors stored under ``key``; built and stored first where they are not, or are not ``usable``."""
        path = self.folder / f"{key}.safetensors"
        if (stored := _read(path, usable)) is not None:
            return stored
        with locked(path):
            if (stored := _read(path, usable)) is not None:
                return stored
            built = {name: value.detach().cpu().contiguous() for name, value in build().items()}
            with contextlib.suppress(UserError):  # a cache that cannot be written costs time, never a run
                write_atomically(path, save(built))
            return built


def _read(path: Path, usable: Callable[[Mapping[str, Tensor]], bool]) -> dict[str, Tensor] | None:
    with contextlib.suppress(DamagedFileError):
        stored = read_tensors(path)[0]
        return stored if usable(stored) else None
    return None
