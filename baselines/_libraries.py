"""Rules of other libraries: making them, and running them so that a cell gives the same numbers in every process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch

from clipfed_bench.api import Library, Member
from clipfed_bench.core.errors import UserError, shown


def load(library: Library, module: str) -> ModuleType:
    """A ``module`` of ``library``. Raises UserError, naming the extra, where it cannot be imported."""
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:
        reason = f"importing {module} raises {type(error).__name__}: {shown(error)}"
        raise UserError(f"{reason}. It comes with {library.advice}.") from error


def make(library: Library, member: Member, **settings: Any) -> Any:
    """The object ``member`` of ``library``, with its options and ``settings``.

    Raises UserError where the library cannot be imported, and for what the constructor refuses.
    """
    made = getattr(load(library, library.module), member.name)
    with refused(f"{library.package}:{member.name}"):
        return made(**member.options, **settings)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """What a library raises inside is a UserError about ``what``."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{what}: {type(error).__name__}: {shown(error, 300)}") from error


@contextmanager
def streams(seed: int, device: torch.device) -> Iterator[None]:
    """The global streams of Python, numpy and torch start from ``seed`` (63 bits) inside, and are as before outside."""
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)  # noqa: NPY002
