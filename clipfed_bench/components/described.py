"""What is known of a component (an attack, a defense, a model, ...) without importing it: read from its source.

A module that breaks the rules of :mod:`clipfed_bench.api` is refused here, with the reason, before anything of it runs.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from clipfed_bench.core.errors import UserError, shown, unknown
from clipfed_bench.core.library import Library, Member
from clipfed_bench.core.values import convert, convertible

Kind = Literal["attack", "defense", "partition", "model", "executor"]
BASES: Mapping[Kind, str] = {
    "attack": "Attack",
    "defense": "Defense",
    "partition": "Partition",
    "model": "Classifier",
    "executor": "Executor",
}
"""Kind -> the class that one inherits from: of :mod:`clipfed_bench.api`, or of ``clipfed_bench.execution.executor``."""
OF_CELL: tuple[Kind, ...] = ("attack", "defense", "partition", "model")
"""Kinds that are settings of a cell; the others change no number."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NEEDS = ("needs_server_data", "needs_teacher", "needs_writers", "compiled")
RECIPE: Mapping[str, str] = {"lr": "float", "batch_size": "int", "warmup_rounds": "int"}
"""What the class of a model states: a cell's setting -> its type."""
_PLAIN = {
    *BASES.values(),
    "DataSource",
    "Measurement",
    "Module",
    "object",
    "ABC",
    "Protocol",
    "Enum",
    "StrEnum",
    "IntEnum",
    "NamedTuple",
    "TypedDict",
}
"""Bases from which no component can be inherited by another way."""


@dataclass(frozen=True)
class Option:
    """One field of a component's ``Config``."""

    name: str
    annotation: str
    default: Any
    """``...`` where one must be given."""
    doc: str

    @property
    def origin(self) -> str:
        """``paper``, ``lineage`` or ``ours``, as the field's documentation marks its default."""
        found = re.search(r"\[(paper|lineage|ours)", self.doc)
        return found[1] if found else "unmarked"


@dataclass(frozen=True)
class Component:
    """A component that is registered but not imported."""

    kind: Kind
    name: str
    module: str
    summary: str
    options: tuple[Option, ...]
    needs_server_data: bool = False
    needs_teacher: bool = False
    needs_writers: bool = False
    checks: bool = False
    """Of a partition: whether it looks at what is to be divided before data are read."""
    compiled: bool = False
    """Of a model: whether it has kernels of its own for a CPU."""
    recipe: tuple[Option, ...] = ()
    """Of a model: the settings of :data:`RECIPE`, with the values that it trains with."""
    family: bool = False
    """Whether it stands for others, ``name:MEMBER`` (:mod:`clipfed_bench.core.library`)."""
    library: Library | None = None
    """Of a family: where its members are, if that is known."""
    made_with: str = ""
    """Of a member: its library and the version of that, which its cells are computed with."""

    def resolve(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """A value for each option, ``given`` ones (text or values) converted and checked. Raises UserError."""
        by_name = {option.name: option for option in self.options}
        for name in given:
            if name not in by_name:
                if not by_name:
                    raise UserError(f"{self.kind} '{self.name}' has no options, so '{shown(name)}' cannot be set.")
                raise unknown(f"option of {self.kind} {self.name}", name, by_name)
        for name, option in by_name.items():
            if option.default is ... and name not in given:
                raise UserError(f"{self.kind} {self.name} needs a value: {self.name}[{name}={option.annotation}].")
        return tuple(
            convert(given[name], o.annotation, f"{self.name}[{name}]") if name in given else o.default
            for name, o in by_name.items()
        )


def describe(kind: Kind, name: str, module: str, origin: str | None) -> Component:
    """The component ``name`` of which ``module``, whose file is ``origin``, is the source.

    Raises UserError where it is not one class with one documented, frozen ``Config`` of literal defaults.
    """
    tree = parse(kind, name, module, origin)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    config = next((node for node in classes if node.name == "Config"), None)
    check_classes(BASES[kind], module, [node for node in classes if node.name != "Config"])
    if config is None or not _is_frozen(config):
        raise UserError(f"{module} must define its options as a dataclass Config with @dataclass(frozen=True).")
    needs: dict[str, Any] = dict(item for node in classes if node is not config for item in _needs(node))
    checks = any(defines(node, "check") for node in classes)
    recipe = tuple(_recipe(node for node in classes if node is not config)) if kind == "model" else ()
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return replace(
        Component(kind, name, module, summary, tuple(_options(config)), checks=checks, recipe=recipe),
        family=any(map(_is_member, config.body)),
        library=_library(tree),
        **needs,
    )


def parse(option: str, name: str, module: str, origin: str | None) -> ast.Module:
    """The source of ``module``, whose file is ``origin``. Raises UserError, also where it cannot be called ``name``."""
    if not _NAME.fullmatch(name):
        raise UserError(f"'{shown(name)}' is no name for --{option}; use letters, digits, '_' and '-'.")
    if origin is None or not origin.endswith(".py"):
        raise UserError(f"the source of {module} cannot be found.")
    try:
        with tokenize.open(origin) as file:
            return ast.parse(file.read())
    except OSError as error:
        raise UserError(f"{origin} cannot be read: {error.strerror}.") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{origin} is not valid Python: {shown(error)}.") from None


def check_classes(base_class: str, module: str, classes: list[ast.ClassDef]) -> None:
    """Raise UserError unless exactly one class of a module is to be made.

    What inherits from an imported class is seen when it is made.
    """
    known, found, other = {base_class}, 0, False
    for node in classes:
        bases = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]
        if known.intersection(bases):
            known.add(node.name)
            found += 1
        other |= any(base not in _PLAIN for base in bases)
    if found > 1 or (found == 0 and not other):
        helper = " Modules that only help others have names that begin with '_'." if found == 0 else ""
        raise UserError(f"{module} must define exactly one {base_class}; it has {found}.{helper}")


def defines(node: ast.ClassDef, method: str) -> bool:
    """Whether a class has a ``method`` of its own."""
    return any(isinstance(item, ast.FunctionDef) and item.name == method for item in node.body)


def assigned(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """Fields of a class that have a value, and what it is made by."""
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
            target = item.targets[0] if isinstance(item, ast.Assign) else item.target
            if isinstance(target, ast.Name):
                yield target.id, item.value


def literals(node: ast.ClassDef, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Those fields of a class that are among ``names``, with their values. Raises UserError where one is no literal."""
    for name, value in assigned(node):
        if name in names:
            try:
                yield name, ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                raise UserError(f"its {name} must be a literal, so that it is known before it runs.") from None


def _is_frozen(config: ast.ClassDef) -> bool:
    return any(
        isinstance(call, ast.Call)
        and ast.unparse(call.func).rpartition(".")[2] == "dataclass"
        and any(
            k.arg == "frozen" and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords
        )
        for call in config.decorator_list
    )


def _is_member(item: ast.stmt) -> bool:
    return isinstance(item, ast.AnnAssign) and ast.unparse(item.annotation) == Member.__name__


def _library(tree: ast.Module) -> Library | None:
    """What a family states as its ``LIBRARY``. Raises UserError where that is no call with literals."""
    for item in tree.body:
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "LIBRARY":
            try:
                assert isinstance(item.value, ast.Call)
                return Library(**{str(keyword.arg): ast.literal_eval(keyword.value) for keyword in item.value.keywords})
            except (AssertionError, ValueError, TypeError):
                raise UserError("LIBRARY must be one call, Library(module=..., extra=...), with literals.") from None
    return None


def _needs(node: ast.ClassDef) -> Iterator[tuple[str, bool]]:
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
            target = item.targets[0] if isinstance(item, ast.Assign) else item.target
            if isinstance(target, ast.Name) and target.id in _NEEDS:
                if not isinstance(item.value, ast.Constant) or not isinstance(item.value.value, bool):
                    raise UserError(f"{target.id} of {node.name} must be True or False.")
                yield target.id, item.value.value


def _recipe(classes: Iterable[ast.ClassDef]) -> Iterator[Option]:
    """What a model states that it trains with, each with a documentation. Raises UserError unless it states all."""
    stated = {}
    for node in classes:
        for item, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
                target = item.targets[0] if isinstance(item, ast.Assign) else item.target
                doc = after.value if isinstance(after, ast.Expr) else None
                if isinstance(target, ast.Name) and target.id in RECIPE:
                    stated[target.id] = item.value, str(doc.value) if isinstance(doc, ast.Constant) else ""
    for name, annotation in RECIPE.items():
        value, text = stated.get(name, (None, ""))
        try:
            found = convert(ast.literal_eval(value), annotation, name) if value is not None else None
        except (ValueError, TypeError, SyntaxError, UserError):
            found = None
        if found is None or found < 0 or (found == 0 and name != "warmup_rounds"):
            kind = "a number above 0" if annotation == "float" else "a whole number"
            raise UserError(f"it must state its {name}, as a literal: {kind}.")
        yield Option(name, annotation, found, " ".join(text.split()))


def _options(config: ast.ClassDef) -> Iterator[Option]:
    for item, after in zip(config.body, [*config.body[1:], None], strict=True):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        name, annotation = item.target.id, ast.unparse(item.annotation).replace("'", '"')
        if annotation.startswith(("ClassVar", "typing.ClassVar")) or _is_member(item):
            continue
        if not isinstance(after, ast.Expr) or not isinstance(after.value, ast.Constant) or not after.value.value:
            raise UserError(f"the option {name} is not documented; write a string below it.")
        if not convertible(annotation):
            raise UserError(
                f"the option {name} is of type {shown(annotation)}; possible are int, float, bool, str, tuple[...], "
                "Literal[...], and these with '| None'."
            )
        try:
            default = ast.literal_eval(item.value) if item.value is not None else ...
            fits = default is not ... and convert(default, annotation, name) == default
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise UserError(f"the default of {name} must be a literal.") from None
        except UserError:
            fits = False
        if not fits:
            raise UserError(f"the option {name} needs a default of its type, {annotation}.")
        yield Option(name, annotation, default, " ".join(str(after.value.value).split()))
