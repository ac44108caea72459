"""Values as users write them, on a command line or in TOML, checked against a field's annotation.

Annotations are read as text, since attacks and defenses are listed and checked without being imported: ``int``,
``float``, ``bool``, ``str``, ``tuple[...]``, ``Literal["a", "b"]``, and any of them ``| None``.
"""

from __future__ import annotations

import ast
import sys
import unicodedata
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

from clipfed_bench.core.errors import UserError, shown

_WORDS = {"true": True, "false": False, "none": None}
_LARGEST = 2**63 - 1
"""Whole numbers are columns of 64 bits."""
_LONGEST = 4096
"""Characters of a text; no path is longer."""


def split_list(text: str) -> list[str]:
    """Split at commas outside brackets: ``"krum,clip-fed[beta=2,tau=1]"`` -> two items.

    Raises UserError for brackets that do not match and for empty items.
    """
    items, depth, start = [], 0, 0
    for i, char in enumerate(text + ","):
        depth += (char in "[(") - (char in "])")
        if depth < 0:
            break
        if char == "," and depth == 0:
            items.append(text[start:i].strip())
            start = i + 1
    if depth != 0:
        raise UserError(f"brackets do not match in '{shown(text)}'.")
    if not all(items):
        raise UserError(f"empty item in the list '{shown(text)}'; write values separated by single commas.")
    return items


def parse_choice(text: str) -> tuple[str, dict[str, str]]:
    """``"badnets[size=3,value=0.5]"`` -> ``("badnets", {"size": "3", "value": "0.5"})``.

    Raises UserError where the text is not of that form.
    """
    name, bracket, rest = text.strip().partition("[")
    if not bracket:
        return name, {}
    if not rest.endswith("]") or not name:
        raise UserError(f"'{shown(text)}' is not a name with options; write name[option=value,option=value].")
    options: dict[str, str] = {}
    for item in split_list(rest[:-1]) if rest != "]" else []:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"'{shown(item)}' in '{shown(text)}' is not an option; write option=value.")
        if key.strip() in options:
            raise UserError(f"option '{shown(key.strip())}' is given twice in '{shown(text)}'.")
        options[key.strip()] = value.strip()
    return name, options


def convert(value: Any, annotation: str, what: str) -> Any:
    """``value`` (text, or a TOML value) as the type that ``annotation`` names. ``what`` names the field in errors.

    Raises UserError for a value of another type, for numbers that are not finite or not of 64 bits, and for text that
    is no name and no path: with control characters, not Unicode, or of more than 4096 characters.
    """
    base, optional = _parts(annotation)
    if base == "str":
        if isinstance(value, str):
            return None if optional and value.lower() == "none" else _checked_text(value, what)
        found = value
    else:
        found = _read(value) if isinstance(value, str) else value
    if found is None and optional:
        return None
    node = _parsed(base)
    if _is_literal(node):
        allowed = ast.literal_eval(node.slice)  # type: ignore[attr-defined]
        return _one_of(value, found, allowed if isinstance(allowed, tuple) else (allowed,), what)
    try:
        return _typed(found, node)
    except OverflowError:
        raise UserError(f"{what}: '{shown(value)}' is too large; whole numbers go up to {_LARGEST}.") from None
    except (TypeError, ValueError):
        kinds = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
        kind = kinds.get(base, f"of the form {base}") + (" or none" if optional else "")
        raise UserError(f"{what}: '{shown(value)}' is not {kind}.") from None


def convertible(annotation: str) -> bool:
    """Whether :func:`convert` knows ``annotation``."""
    try:
        return _known(_parsed(_parts(annotation)[0]))
    except (SyntaxError, ValueError):
        return False


def _parts(annotation: str) -> tuple[str, bool]:
    """The type, and whether none will do."""
    base = annotation.removesuffix("| None").strip()
    return base, base != annotation.strip()


@cache
def _parsed(base: str) -> ast.expr:
    """A type, as it was written. Raises SyntaxError or ValueError where it is none."""
    return ast.parse(base, mode="eval").body


def _read(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        with warnings.catch_warnings(action="ignore"):  # of text that is nearly Python
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _typed(value: Any, node: ast.expr) -> Any:
    """``value`` as the type ``node``. Raises TypeError, ValueError or (whole numbers) OverflowError."""
    if isinstance(node, ast.Subscript):
        if not isinstance(value, list | tuple):
            raise TypeError
        kinds = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if isinstance(kinds[-1], ast.Constant):  # an ellipsis
            kinds = kinds[:1] * len(value)
        return tuple(_typed(item, kind) for item, kind in zip(value, kinds, strict=True))
    name = getattr(node, "id", "")
    if name == "bool" or isinstance(value, bool):
        if name != "bool" or not isinstance(value, bool):
            raise TypeError
        return value
    if name == "int" and isinstance(value, int):
        if abs(value) > _LARGEST:
            raise OverflowError
        return value
    if name == "float" and isinstance(value, int | float):
        if not abs(value) <= sys.float_info.max:
            raise ValueError
        return float(value) + 0.0  # -0.0 is 0.0: equal values have equal keys
    if name == "str" and isinstance(value, str):
        return value
    raise TypeError


def _one_of(given: Any, read: Any, allowed: Sequence[Any], what: str) -> Any:
    for value in (given, read):
        for choice in allowed:
            if type(value) is type(choice) and value == choice:
                return choice
    raise UserError(f"{what}: '{shown(given)}' is not one of {', '.join(map(str, allowed))}.")


def _checked_text(text: str, what: str) -> str:
    if len(text) > _LONGEST:
        raise UserError(f"{what}: '{shown(text)}' has {len(text):,} characters; at most {_LONGEST:,} are possible.")
    odd = next((char for char in text if unicodedata.category(char) in ("Cc", "Cs")), None)
    if odd is not None:
        raise UserError(f"{what}: '{shown(text)}' holds {odd!a}, a control character or no Unicode; leave it out.")
    return text


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal"


def _known(node: ast.expr) -> bool:
    if _is_literal(node):
        ast.literal_eval(node.slice)  # type: ignore[attr-defined]
        return True
    if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "tuple":
        kinds = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        last = kinds[-1]
        if len(kinds) == 2 and isinstance(last, ast.Constant) and last.value is ...:
            kinds = kinds[:1]
        return all(_known(kind) for kind in kinds)
    return getattr(node, "id", "") in ("int", "float", "bool", "str")


def show(value: Any) -> str:
    """The text that :func:`convert` reads back as ``value``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return _literal(value) if isinstance(value, tuple) else str(value)


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({','.join(map(_literal, value))}{',' * (len(value) == 1)})"
    return repr(value)
