"""Any defense as a strategy of Flower, in other people's federations.

``from clipfed_bench.flower import DefenseStrategy``; docs/flower.md has a complete example. Flower is imported then,
and comes with ``pip install 'clipfed-bench[flwr]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipfed_bench.flower.strategy import DefenseStrategy

__all__ = ["DefenseStrategy"]


def __getattr__(name: str) -> Any:
    if name == "DefenseStrategy":
        from clipfed_bench.flower.strategy import DefenseStrategy

        return DefenseStrategy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
