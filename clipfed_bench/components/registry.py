"""Find attacks and defenses by name, also other people's, without importing them until one is made.

They come by entry points (:mod:`clipfed_bench.components.entry_points`) in the groups ``clipfed_bench.attacks`` and
``clipfed_bench.defenses``. Summaries, options and defaults are read from the source
(:mod:`clipfed_bench.components.described`), so that listing them and checking a grid needs no torch.

A plug-in that cannot be used keeps no other from being used: it is among :func:`broken`, and who asks for it is told
why.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from clipfed_bench.components.described import Component, Kind, Option, describe
from clipfed_bench.components.entry_points import Found, discover, load
from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.core.values import parse_choice

if TYPE_CHECKING:
    from clipfed_bench.api import Attack, AttackContext, Defense, ServerContext

__all__ = ["Component", "Kind", "Option", "attacks", "broken", "create_attack", "create_defense", "defenses", "find"]


def attacks() -> dict[str, Component]:
    """Every registered attack by name."""
    return _components("attack")


def defenses() -> dict[str, Component]:
    """Every registered defense by name."""
    return _components("defense")


def broken(kind: Kind) -> Mapping[str, str]:
    """What cannot be used: the name of a component or of a plug-in -> why, in a sentence that names it."""
    return _registered(kind).broken


def find(kind: Kind, text: str) -> tuple[Component, dict[str, Any]]:
    """The component that ``text``, e.g. ``"badnets[size=3]"``, names, and all its options. Raises UserError."""
    name, given = parse_choice(text)
    known = _components(kind)
    if name not in known:
        raise unknown(kind, name, known, broken(kind))
    return known[name], known[name].resolve(given)


def create_attack(name: str, options: Mapping[str, Any], context: AttackContext) -> Attack:
    """An attack with ``options`` (all or some of them). Raises UserError for a bad name, option or value."""
    made: Attack = _create("attack", name, options, context)
    return made


def create_defense(name: str, options: Mapping[str, Any], server: ServerContext) -> Defense:
    """A defense with ``options`` (all or some of them). Raises UserError for a bad name, option or value."""
    made: Defense = _create("defense", name, options, server)
    return made


def _create(kind: Kind, name: str, options: Mapping[str, Any], context: Any) -> Any:
    from clipfed_bench import api

    component, _ = find(kind, name)
    module, cls = load(kind, name, component.module, api.Attack if kind == "attack" else api.Defense)
    return cls(module.Config(**component.resolve(options)), context)


def _components(kind: Kind) -> dict[str, Component]:
    found = _registered(kind).usable
    if not found:
        reasons = " ".join(broken(kind).values())
        raise UserError(
            f"no {kind}s are registered; install the package with pip so that its entry points exist. {reasons}".strip()
        )
    return found


@cache
def _registered(kind: Kind) -> Found[Component]:
    return discover(kind, partial(describe, kind))
