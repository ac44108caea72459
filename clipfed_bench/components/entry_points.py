"""Find what packages add by entry points, without importing more of them than what holds a package.

An entry point in the group ``clipfed_bench.KINDs`` (attacks, metrics, executors) names a package, each public module of
which is one thing called by its file name (``trimmed_mean.py`` -> ``trimmed-mean``), or a single module, called by the
entry point's name. What cannot be used keeps nothing else from being used: it is among :attr:`Found.broken`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from clipfed_bench.core.errors import UserError, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """What the entry points of one group come to, by name."""

    usable: dict[str, T]
    broken: dict[str, str]
    """Name of a thing or of a plug-in -> why it cannot be used, in a sentence that names it."""


def discover(
    kind: str,
    describe: Callable[[str, str, str | None], T],
    own: str = "",
    taken: Collection[str] = (),
    dash: str = "-",
) -> Found[T]:
    """Everything of ``kind``; ``describe`` makes it from name, module and source file, and may raise UserError.

    Of two of the same name neither can be used, but for those of the package ``own``, and those that are ``taken``:
    they stay what they are. ``dash`` is what stands for ``_`` of a file's name.
    """
    usable: dict[str, T] = {}
    broken: dict[str, str] = {}
    clashing: dict[str, str] = {}
    built_in: set[str] = set()
    modules: dict[str, str] = dict.fromkeys(taken, "the built-in one")
    entries = entry_points(group=f"clipfed_bench.{kind}s")
    for entry in sorted(entries, key=lambda e: (e.value != own, e.name, e.value)):
        plugin = f"the plug-in '{shown(entry.name)}' ({shown(entry.value)})"
        try:
            sources = list(_sources(entry, dash))
        except UserError as error:
            broken[entry.name] = f"{plugin} cannot be used: {error}"
            continue
        for name, module, origin in sources:
            if modules.setdefault(name, module) != module:
                first = "the built-in one" if name in built_in else modules[name]
                both = f"{first} and {module}, which is of {plugin}"
                clashing[name] = f"two {kind}s are called '{shown(name)}': {both}; rename or un-install one."
                continue
            try:
                usable[name] = describe(name, module, origin)
            except UserError as error:
                broken[name] = f"{kind} '{shown(name)}' of {plugin} cannot be used: {error}"
        built_in = built_in or (set(usable) if entry.value == own else set())
    return Found(
        {name: usable[name] for name in sorted(usable) if name not in clashing or name in built_in},
        dict(sorted((broken | clashing).items())),
    )


def load(kind: str, name: str, module: str, base: type[Any]) -> tuple[ModuleType, type[Any]]:
    """The imported ``module``, and the one class in it that inherits from ``base``. Raises UserError."""
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        reason = f"importing {module} raises {type(error).__name__}: {shown(error)}"
        raise UserError(f"{kind} '{name}' cannot be used: {reason}") from error
    classes = (cls for _, cls in inspect.getmembers(loaded, inspect.isclass) if cls.__module__ == module)
    found = [cls for cls in classes if issubclass(cls, base)]
    if len(found) != 1:
        raise UserError(f"{kind} module {module} must define exactly one {base.__name__}; it has {len(found)}.")
    return loaded, found[0]


def _sources(entry: EntryPoint, dash: str) -> Iterator[tuple[str, str, str | None]]:
    """Name, module and file of each thing that ``entry`` names."""
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
            yield module.name.replace("_", dash), full, inner.origin if inner else None
