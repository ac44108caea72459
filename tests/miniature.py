"""Cells in miniature: some of the images, evaluations that change with any bit of the model, and exact figures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from clipfed_bench.core.messages import CellResult
from clipfed_bench.simulator import cell_setup, shared
from clipfed_bench.simulator.evaluate import TestSets

_loaded = cache(shared.load_dataset)
"""Which takes longer than most cells in miniature."""

Evaluate = Callable[[nn.Module, TestSets], dict[str, float]]


@contextmanager
def miniature(evaluate: Evaluate, train: int = 1, test: int = 1) -> Iterator[None]:
    """Cells with every ``train``-th training image and every ``test``-th test image, and ``evaluate`` instead."""
    caches = (shared._original, shared.dataset, shared._server_data)

    def fewer(*arguments):
        data = _loaded(*arguments)
        parts = ((data.train, train), (data.test, test))
        few = [part.take(torch.arange(0, len(part), step)) for part, step in parts]
        return replace(data, train=few[0], test=few[1])

    def forget() -> None:
        for cached in caches:
            cached.cache_clear()

    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "load_dataset", fewer)
        patch.setattr(cell_setup, "evaluate", lambda model, sets: {**evaluate(model, sets), "asr_clean": 0.0})
        yield
    forget()


def fingerprint(model: nn.Module) -> dict[str, float]:
    """Metrics from 0 to 1 that change with any bit of the parameters."""
    total = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).digest()
    return {name: int.from_bytes(total[i : i + 6], "big") / 2**48 for name, i in (("mta", 0), ("asr", 6))}


def numbers(result: CellResult) -> list[list[tuple[str, str]]]:
    """Everything but times, exactly, in order."""
    return [
        [(name, repr(value)) for name, value in row.items() if not name.startswith("seconds")]
        for row in [*result.history, result.final]
    ]
