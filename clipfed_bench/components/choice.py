"""What a cell has of each kind: an attack or a defense with a value for each of its options, parsed once from text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipfed_bench.components.described import Component, Kind, Option
from clipfed_bench.core.values import parse_choice, show


@dataclass(frozen=True)
class Choice:
    """A component and its options, all of them. Equal choices are the same attack or defense, however written.

    ``str()`` is its label, ``name[option=value,...]`` with just the options that differ from their defaults, in the
    order declared: what files, tables and messages show.
    """

    component: Component
    values: tuple[Any, ...]
    """Of ``component.options``, in their order."""

    @property
    def name(self) -> str:
        """The component's bare name."""
        return self.component.name

    @property
    def options(self) -> dict[str, Any]:
        """Name -> value."""
        return {option.name: value for option, value in zip(self.component.options, self.values, strict=True)}

    def __str__(self) -> str:
        pairs = zip(self.component.options, self.values, strict=True)
        changed = [f"{option.name}={show(value)}" for option, value in pairs if value != option.default]
        return f"{self.name}[{','.join(changed)}]" if changed else self.name


def stored(kind: Kind, label: str) -> Choice:
    """The choice that a file calls ``label``, whether or not there still is such a component.

    Nothing is known of it but the label: the options are those given, their values are text and no defaults.
    Raises UserError where it is no label.
    """
    name, given = parse_choice(label)
    options = tuple(Option(option, "str", ..., "") for option in given)
    return Choice(Component(kind, name, "", "", options), tuple(given.values()))
