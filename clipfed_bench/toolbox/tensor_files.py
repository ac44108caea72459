"""safetensors files that anybody may have written or damaged; see :mod:`clipfed_bench.core.untrusted`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from clipfed_bench.core.errors import DamagedFileError
from clipfed_bench.core.untrusted import reading


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name, on ``device``, and the metadata. Raises DamagedFileError.

    On the CPU they lie where the file is mapped into memory, beginning wherever they begin in it.
    """
    with reading():
        if not path.is_file():  # a pipe would keep us waiting
            raise DamagedFileError("it is no file")
        with safe_open(path, framework="pt", device=device) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_model(path: Path, device: str) -> tuple[tuple[Tensor, Tensor], dict[str, str]]:
    """(P,) ``params`` and (Q,) ``buffers`` of a stored model, float32 and finite, and the metadata.

    Raises DamagedFileError.
    """
    with reading():
        tensors, facts = read_tensors(path, device)
        params, buffers = tensors["params"], tensors["buffers"]
        if not all(t.dtype == torch.float32 for t in (params, buffers)) or not all_finite((params, buffers)):
            raise DamagedFileError("its numbers are not float32, or not finite")
        return (params, buffers), facts


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds NaN or an infinity."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
