"""The names of the data sets and what is known about each, without importing torch.

All come by entry points in the group ``clipfed_bench.datasets``, those of this project from the package ``data_sets``;
see :class:`clipfed_bench.api.DataSource`.
"""

from __future__ import annotations

from functools import cache

from clipfed_bench.components.entry_points import Found, discover
from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.data.info import Info, describe

IMBALANCE_FACTOR = 10.0
"""n_max / n_min of a ``-lt`` training split [inferred from the paper's MTA]."""


@cache
def registered() -> Found[Info]:
    """The data sets before long tails are cut, and why some of other packages cannot be used."""
    return discover("dataset", describe, own="data_sets")


def originals() -> dict[str, Info]:
    """Those that can be used: name -> what is known."""
    return registered().usable


def datasets() -> dict[str, str]:
    """Every data set: name -> one-line description."""
    names: dict[str, str] = {}
    for name, found in originals().items():
        tail = f"{name} with a long-tailed training split (imbalance factor {IMBALANCE_FACTOR:g} unless stated)"
        names |= {name: found.summary, f"{name}-lt": tail}
    return names


def base_name(name: str) -> str:
    """The balanced original of a data set: ``cifar10`` of ``cifar10-lt``.

    Raises UserError: no data set has that name.
    """
    base = name.removesuffix("-lt")
    if base not in originals():
        raise unknown("dataset", name, datasets(), registered().broken)
    return base


def info(name: str) -> Info:
    """What is known of the original of data set ``name``. Raises UserError for an unknown name."""
    return originals()[base_name(name)]


def server_data(name: str) -> str:
    """The server data of data set ``name`` that are used when none are named. Raises UserError where there are none."""
    chosen = info(name).server_data
    if chosen is None:
        raise UserError(f"server data: {name} has none of its own; name a path, or holdout:N.")
    return chosen


def resolve_imbalance(name: str, factor: float | None) -> float:
    """The imbalance factor that a data set is cut with: 1 for a balanced one, 10 for ``-lt`` unless stated.

    Raises UserError: unknown name, a factor below 1, or a factor other than 1 for a balanced data set.
    """
    base = base_name(name)
    if name == base:
        if factor not in (None, 1):
            raise UserError(f"{name} is balanced: imbalance factor {factor:g} needs {name}-lt (or leave it out).")
        return 1.0
    if factor is None:
        return IMBALANCE_FACTOR
    if not 1.0 <= factor < float("inf"):
        raise UserError(f"{name}: imbalance factor {factor:g} is out of range; it is n_max / n_min, so at least 1.")
    return float(factor)
