"""The partition of a cell: a component, some of whose options are settings of the cell, with axes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipfed_bench.components.choice import Choice
from clipfed_bench.components.registry import choose
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.values import convert, parse_choice, show

SHARED = {"alpha": "α", "degree": "q"}
"""Options that are settings -> their signs. A :class:`Choice` has them at their defaults; the cell has their values."""


def settled(
    partition: Choice | str, settings: Mapping[str, float | None], usual: Mapping[str, float | None]
) -> tuple[Choice, dict[str, float | None]]:
    """The partition, and the settings of :data:`SHARED` as it needs them: None where it has no such option.

    ``dirichlet[alpha=0.1]`` is ``dirichlet`` with the setting alpha. Raises UserError for a bad name, option or value,
    for a setting that is needed and None, and for one that is neither ``usual`` nor what stands in the brackets.
    """
    inside: dict[str, float] = {}
    if isinstance(partition, str):
        name, given = parse_choice(partition)
        choose("partition", name, **given)
        inside = {o: convert(given[o], "float", f"{name}[{o}]") for o in SHARED if o in given}
        for option, value in inside.items():
            if settings[option] not in (value, usual[option], None):
                raise UserError(f"{option}: {settings[option]:g}, and {value:g} in {partition}; write it once.")
        partition = choose("partition", name, **{o: text for o, text in given.items() if o not in inside})
    found: dict[str, float | None] = {}
    for option in SHARED:
        found[option] = inside.get(option, settings[option]) if option in partition.options else None
        if option in partition.options and found[option] is None:
            raise UserError(f"{option}: the partition {partition.name} needs a value.")
    return partition, found


def whole(partition: Choice, settings: Mapping[str, float | None]) -> Choice:
    """``partition`` with those of its options that are settings, too: what divides images."""
    values = {option: settings[option] for option in SHARED if option in partition.options}
    return Choice(partition.component, partition.component.resolve({**partition.options, **values}))


def own_options(partition: Choice) -> dict[str, Any]:
    """The options that are no settings, with their values."""
    return {name: value for name, value in partition.options.items() if name not in SHARED}


def spoken(label: str, settings: Mapping[str, Any]) -> str:
    """``α=0.5``, ``q=0.4``, ``iid``, ``shards[per_client=3]``: a partition in a word, by its label and settings."""
    signs = [f"{sign}={show(settings[name])}" for name, sign in SHARED.items() if settings[name] is not None]
    return " ".join(signs if label in ("dirichlet", "degree") else [label, *signs])
