"""Find attacks and defenses by name, also other people's, without importing them until one is made.

An entry point in the group ``clipfed_bench.attacks`` or ``clipfed_bench.defenses`` names a package, each public module
of which is one component called by its file name (``trimmed_mean.py`` -> ``trimmed-mean``), or a single module, called
by the entry point's name. Summaries, options and defaults are read from the source, so that listing them and checking
a grid needs no torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from clipfed_bench.errors import UserError, unknown
from clipfed_bench.values import convert, parse_choice, show

if TYPE_CHECKING:
    from clipfed_bench.api import Attack, AttackContext, Defense, ServerContext

Kind = Literal["attack", "defense"]


@dataclass(frozen=True)
class Option:
    """One field of a component's ``Config``."""

    name: str
    annotation: str
    default: Any
    doc: str

    @property
    def origin(self) -> str:
        """``paper``, ``lineage`` or ``ours``, as the field's documentation marks its default."""
        found = re.search(r"\[(paper|lineage|ours)", self.doc)
        return found[1] if found else "unmarked"


@dataclass(frozen=True)
class Component:
    """An attack or a defense that is registered but not imported."""

    kind: Kind
    name: str
    module: str
    summary: str
    options: tuple[Option, ...]
    needs_server_data: bool = False
    needs_teacher: bool = False

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options with their values, ``given`` ones converted and checked. Raises UserError."""
        by_name = {option.name: option for option in self.options}
        for name in given:
            if name not in by_name:
                if not by_name:
                    raise UserError(f"{self.kind} '{self.name}' has no options, so '{name}' cannot be set.")
                raise unknown(f"option of {self.kind} {self.name}", name, by_name)
        return {
            name: convert(given[name], o.annotation, f"{self.name}[{name}]") if name in given else o.default
            for name, o in by_name.items()
        }

    def label(self, options: Mapping[str, Any]) -> str:
        """``name[option=value,...]`` with just the options that differ from their defaults, in the order declared."""
        changed = [f"{o.name}={show(options[o.name])}" for o in self.options if options[o.name] != o.default]
        return f"{self.name}[{','.join(changed)}]" if changed else self.name


def attacks() -> dict[str, Component]:
    """Every registered attack by name."""
    return _components("attack")


def defenses() -> dict[str, Component]:
    """Every registered defense by name."""
    return _components("defense")


def find(kind: Kind, text: str) -> tuple[Component, dict[str, Any]]:
    """The component that ``text``, e.g. ``"badnets[size=3]"``, names, and all its options. Raises UserError."""
    name, given = parse_choice(text)
    known = _components(kind)
    if name not in known:
        raise unknown(kind, name, known)
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
    module = importlib.import_module(component.module)
    base = api.Attack if kind == "attack" else api.Defense
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, base) and cls.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UserError(
            f"{kind} module {component.module} must define exactly one {base.__name__}; it has {len(found)}."
        )
    return found[0](module.Config(**component.resolve(options)), context)


@cache
def _components(kind: Kind) -> dict[str, Component]:
    found: dict[str, Component] = {}
    for entry in sorted(entry_points(group=f"clipfed_bench.{kind}s"), key=lambda e: (e.name, e.value)):
        for name, module in _modules(entry.name, entry.value):
            if name in found and found[name].module != module:
                raise UserError(f"two {kind}s are called '{name}': {found[name].module} and {module}; rename one.")
            found[name] = _describe(kind, name, module)
    if not found:
        raise UserError(f"no {kind}s are registered; install the package with pip so that its entry points exist.")
    return dict(sorted(found.items()))


def _modules(name: str, value: str) -> list[tuple[str, str]]:
    spec = importlib.util.find_spec(value)
    if spec is None:
        raise UserError(f"plug-in '{name}' names the module {value}, which cannot be found; re-install its package.")
    if spec.submodule_search_locations is None:
        return [(name, value)]
    public = (m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if not m.name.startswith("_"))
    return [(module.replace("_", "-"), f"{value}.{module}") for module in public]


def _describe(kind: Kind, name: str, module: str) -> Component:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"{kind} '{name}': the source of {module} cannot be found.")
    with open(spec.origin, encoding="utf-8") as file:
        try:
            tree = ast.parse(file.read())
        except SyntaxError as error:
            raise UserError(f"{kind} '{name}': {spec.origin} is not valid Python: {error}.") from None
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    options: tuple[Option, ...] = ()
    needs = {"needs_server_data": False, "needs_teacher": False}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            options = tuple(_options(node, f"{kind} '{name}'"))
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
                if isinstance(target, ast.Name) and target.id in needs and isinstance(item, ast.Assign | ast.AnnAssign):
                    needs[target.id] = bool(item.value is not None and ast.literal_eval(item.value))
    return Component(kind, name, module, summary, options, **needs)


def _options(config: ast.ClassDef, owner: str) -> list[Option]:
    found = []
    for item, after in zip(config.body, [*config.body[1:], None], strict=True):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        doc = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            doc = " ".join(str(after.value.value).split())
        try:
            default = ast.literal_eval(item.value) if item.value is not None else None
        except ValueError:
            raise UserError(f"{owner}: the default of {item.target.id} must be a literal.") from None
        found.append(Option(item.target.id, ast.unparse(item.annotation).replace("'", '"'), default, doc))
    return found
