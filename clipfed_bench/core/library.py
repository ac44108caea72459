"""Families of components, ``byzfl:Krum`` or ``timm:resnet18``: another library has the members, nobody lists them here.

A module of which ``Config`` has a field ``member: Member`` is a family, named like any other module; its members are
called ``family:NAME``. The other fields of ``Config`` are options of every member. Where the module states a
``LIBRARY``, members are classes of that library, and the parameters of their constructors are options, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Member:
    """Which member of a family a component is."""

    name: str
    """What stands after the colon."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """A value for each parameter of its constructor that is an option; none without a ``LIBRARY``."""


@dataclass(frozen=True)
class Library:
    """Where the members of a family are. Written as one call with literals: it is read, as the library is, not run."""

    module: str
    """The module, or the package with its ``__all__``, that has their classes."""
    extra: str
    """What installs it: ``pip install 'clipfed-bench[EXTRA]'``."""
    set_here: tuple[str, ...] = ()
    """Parameters of constructors that are no options, as the family sets them or leaves them alone."""
    unfit: Mapping[str, str] = field(default_factory=dict)
    """Classes that are no members -> why."""

    @property
    def package(self) -> str:
        """What is imported, and installed, under this name."""
        return self.module.partition(".")[0]

    @property
    def advice(self) -> str:
        """How to install it."""
        return f"pip install 'clipfed-bench[{self.extra}]'"
