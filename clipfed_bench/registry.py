"""Find attacks and defenses by name, also other people's, without importing them until one is made.

An entry point in the group ``clipfed_bench.attacks`` or ``clipfed_bench.defenses`` names a package, each public module
of which is one component called by its file name (``trimmed_mean.py`` -> ``trimmed-mean``), or a single module, called
by the entry point's name. Summaries, options and defaults are read from the source
(:mod:`clipfed_bench.components`), so that listing them and checking a grid needs no torch.

A plug-in that cannot be used keeps no other from being used: it is among :func:`broken`, and who asks for it is told
why.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from clipfed_bench.components import BASES, Component, Kind, Option, describe
from clipfed_bench.errors import UserError, shown, unknown
from clipfed_bench.values import parse_choice

if TYPE_CHECKING:
    from clipfed_bench.api import Attack, AttackContext, Defense, ServerContext

__all__ = ["Component", "Kind", "Option", "attacks", "broken", "create_attack", "create_defense", "defenses", "find"]


@dataclass(frozen=True)
class _Registered:
    usable: dict[str, Component] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


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
    known, useless = _components(kind), broken(kind)
    if name not in known and name in useless:
        raise UserError(useless[name])
    if name not in known:
        error = unknown(kind, name, known)
        raise UserError(" ".join([str(error), *useless.values()])) if useless else error
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
    try:
        module = importlib.import_module(component.module)
    except (Exception, SystemExit) as error:
        reason = f"importing {component.module} raises {type(error).__name__}: {shown(error)}"
        raise UserError(f"{kind} '{name}' cannot be used: {reason}") from error
    base = api.Attack if kind == "attack" else api.Defense
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, base) and cls.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UserError(f"{kind} module {component.module} must define exactly one {BASES[kind]}; it has {len(found)}.")
    return found[0](module.Config(**component.resolve(options)), context)


def _components(kind: Kind) -> dict[str, Component]:
    found = _registered(kind).usable
    if not found:
        reasons = " ".join(broken(kind).values())
        raise UserError(
            f"no {kind}s are registered; install the package with pip so that its entry points exist. {reasons}".strip()
        )
    return found


@cache
def _registered(kind: Kind) -> _Registered:
    found = _Registered()
    modules: dict[str, str] = {}
    clashing: dict[str, str] = {}
    for entry in sorted(entry_points(group=f"clipfed_bench.{kind}s"), key=lambda e: (e.name, e.value)):
        plugin = f"the plug-in '{shown(entry.name)}' ({shown(entry.value)})"
        try:
            sources = list(_sources(entry))
        except UserError as error:
            found.broken[entry.name] = f"{plugin} cannot be used: {error}"
            continue
        for name, module, origin in sources:
            if modules.setdefault(name, module) != module:
                both = f"{modules[name]} and {module}, which is of {plugin}"
                clashing[name] = f"two {kind}s are called '{shown(name)}': {both}; rename or un-install one."
                continue
            try:
                found.usable[name] = describe(kind, name, module, origin)
            except UserError as error:
                found.broken[name] = f"{kind} '{shown(name)}' of {plugin} cannot be used: {error}"
    usable = {name: component for name, component in found.usable.items() if name not in clashing}
    return _Registered(dict(sorted(usable.items())), dict(sorted((found.broken | clashing).items())))


def _sources(entry: EntryPoint) -> Iterator[tuple[str, str, str | None]]:
    """Name, module and file of each component that ``entry`` names. No module is imported but what holds a package."""
    try:
        spec = importlib.util.find_spec(entry.value)
    except (Exception, SystemExit) as error:
        raise UserError(f"finding its module raises {type(error).__name__}: {shown(error)}") from None
    if spec is None:
        raise UserError("its module cannot be found; re-install its package.")
    if spec.submodule_search_locations is None:
        yield entry.name, entry.value, spec.origin
        return
    for module in pkgutil.iter_modules(spec.submodule_search_locations):
        if not module.name.startswith("_"):
            full = f"{entry.value}.{module.name}"
            inner = module.module_finder.find_spec(full, None)
            yield module.name.replace("_", "-"), full, inner.origin if inner else None
