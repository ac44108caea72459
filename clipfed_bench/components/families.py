"""The members of families (:mod:`clipfed_bench.core.library`), known by the source of the library that has them.

No library is imported: theirs take seconds, and grids are checked without torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from clipfed_bench.components.described import Component, Option
from clipfed_bench.core.errors import UserError, shown, unknown
from clipfed_bench.core.library import Library
from clipfed_bench.core.values import convertible


def member(family: Component, name: str) -> Component:
    """The component ``family:name``.

    Raises UserError where its library is not installed or has no such class, or one that is unfit. A family without a
    library takes every name of letters, digits, '.', '_' and '-': one is refused when the component is made.
    """
    library, full = family.library, f"{family.name}:{name}"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise UserError(f"'{shown(full)}' is no name for --{family.kind}; write {family.name}:NAME.")
    if library is None:
        return replace(family, name=full, family=False)
    if name in library.unfit:
        raise UserError(f"{family.kind} '{full}' cannot be used: {library.unfit[name]}.")
    known = members(family.name, library)
    if full not in known:
        raise unknown(family.kind, full, known)
    made_with = f"{library.package} {_version(library.package)}"
    own = replace(family, name=full, family=False, library=None)
    return replace(own, options=(*family.options, *known[full]), made_with=made_with)


def members(family: str, library: Library) -> dict[str, tuple[Option, ...]]:
    """``family:NAME`` of every class that fits -> options of its constructor. Raises UserError as :func:`classes`."""
    found = classes(library.module, library.advice)
    return {
        f"{family}:{name}": tuple(option for option in options if option.name not in library.set_here)
        for name, options in found.items()
        if name not in library.unfit
    }


@cache
def classes(module: str, advice: str) -> Mapping[str, tuple[Option, ...]]:
    """The public classes of ``module``, or of a package's ``__all__``, with the parameters of their constructors.

    Left out are those that nothing can be made of: without a constructor of their own or inherited in the module, or
    with a parameter that must be given and can be no option. Raises UserError, with ``advice``, where it is not
    installed, or not of the form that it had when this was written.
    """
    package, *inner = module.split(".")
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"{package} is not installed; it comes with {advice}.")
    base = Path(found.submodule_search_locations[0], *inner)
    files = sorted(base.glob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
    try:
        trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    except (OSError, SyntaxError, ValueError):
        trees = []
    defined = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    public = {name for tree in trees for name in _exported(tree)} or {name for name in defined if name[0] != "_"}
    made = {name: _options(_constructor(name, defined), package) for name in sorted(public & defined.keys())}
    usable = {name: options for name, options in made.items() if options is not None}
    if not usable:
        raise UserError(f"no class of {module} {_version(package)} can be read; another version comes with {advice}.")
    return usable


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _exported(tree: ast.Module) -> Iterator[str]:
    """What ``__all__`` lists."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            yield from ast.literal_eval(node.value)


def _constructor(name: str, defined: Mapping[str, ast.ClassDef]) -> ast.FunctionDef | None:
    """The ``__init__`` of a class, or the first that it inherits from others that are ``defined``."""
    if name not in defined:
        return None
    for item in defined[name].body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return item
    bases = (_constructor(ast.unparse(base), defined) for base in defined[name].bases)
    return next((base for base in bases if base is not None), None)


def _options(init: ast.FunctionDef | None, package: str) -> tuple[Option, ...] | None:
    """The parameters that can be options; None where one that cannot must be given."""
    if init is None:
        return None
    options = []
    positional = [*init.args.posonlyargs, *init.args.args]
    defaults = [*[None] * (len(positional) - len(init.args.defaults)), *init.args.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)]
    for argument, value in pairs[1:]:
        default = _literal(value)
        annotation = type(default).__name__ if argument.annotation is None else ast.unparse(argument.annotation)
        if convertible(annotation) and (value is None or default is not ...):
            options.append(Option(argument.arg, annotation, default, f"As in {package} [lineage]."))
        elif value is None:
            return None
    return tuple(options)


def _literal(value: ast.expr | None) -> object:
    """A default, or ``...`` where there is none or it is no literal."""
    try:
        return ... if value is None else ast.literal_eval(value)
    except ValueError:
        return ...
