"""At which scale something ran, in words: a small run must not be taken for the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.values import show

_MODELS = {"resnet18": "ResNet-18", "cnn": "small CNN"}


def in_words(cells: Sequence[CellSpec]) -> str:
    """``small CNN, 100 clients (10 a round, 20 % malicious), 60 clean and 10 attacked rounds, teacher local, ...``."""
    clean = _values(cells, "warmup_rounds")
    rounds = f"{_values(cells, 'rounds')} rounds" if clean == "0" else f"{clean} clean and {_values(cells, 'rounds')} attacked rounds"  # fmt: skip  # noqa: E501
    shares = "/".join(f"{100 * cell:g}" for cell in _distinct(cells, "malicious"))
    parts = [
        "/".join(_MODELS.get(model, model) for model in _distinct(cells, "model")),
        f"{_values(cells, 'clients')} clients ({_values(cells, 'clients_per_round')} a round, {shares} % malicious)",
        rounds,
        f"degree {_values(cells, 'degree')}" if _distinct(cells, "degree") else "",
        f"teacher {_values(cells, 'teacher')}" if _distinct(cells, "teacher") else "",
        f"server data {_values(cells, 'server_data')}" if _distinct(cells, "server_data") else "",
    ]
    return ", ".join(part for part in parts if part)


def _distinct(cells: Sequence[CellSpec], name: str) -> list[Any]:
    return list(dict.fromkeys(value for cell in cells if (value := getattr(cell, name)) is not None))


def _values(cells: Sequence[CellSpec], name: str) -> str:
    return "/".join(show(value) for value in _distinct(cells, name))
