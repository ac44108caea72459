"""Values as users write them, on a command line or in TOML, checked against a field's annotation.

Annotations are read as text, since attacks and defenses are listed and checked without being imported: ``int``,
``float``, ``bool``, ``str``, ``tuple[...]``, ``Literal["a", "b"]``, and any of them ``| None``.
"""

from __future__ import annotations

import ast
import math
from typing import Any

from clipfed_bench.errors import UserError

_WORDS = {"true": True, "false": False, "none": None}


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
        raise UserError(f"brackets do not match in '{text}'.")
    if not all(items):
        raise UserError(f"empty item in the list '{text}'; write values separated by single commas.")
    return items


def parse_choice(text: str) -> tuple[str, dict[str, str]]:
    """``"badnets[size=3,value=0.5]"`` -> ``("badnets", {"size": "3", "value": "0.5"})``.

    Raises UserError where the text is not of that form.
    """
    name, bracket, rest = text.strip().partition("[")
    if not bracket:
        return name, {}
    if not rest.endswith("]") or not name:
        raise UserError(f"'{text}' is not a name with options; write name[option=value,option=value].")
    options: dict[str, str] = {}
    for item in split_list(rest[:-1]) if rest != "]" else []:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"'{item}' in '{text}' is not an option; write option=value.")
        if key.strip() in options:
            raise UserError(f"option '{key.strip()}' is given twice in '{text}'.")
        options[key.strip()] = value.strip()
    return name, options


def _read(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def convert(value: Any, annotation: str, what: str) -> Any:
    """``value`` (text, or a TOML value) as the type that ``annotation`` names. ``what`` names the field in errors.

    Raises UserError for a value of another type, and for numbers that are not finite.
    """
    optional = annotation.endswith("| None")
    base = annotation.removesuffix("| None").strip()
    if base.startswith("Literal["):
        allowed = ast.literal_eval(base.removeprefix("Literal"))
        if value in allowed:
            return value
        raise UserError(f"{what}: '{value}' is not one of {', '.join(allowed)}.")
    if base == "str":
        if isinstance(value, str):
            return None if optional and value.lower() == "none" else value
        parsed = value
    else:
        parsed = _read(value) if isinstance(value, str) else value
    if parsed is None and optional:
        return None
    if base == "float" and isinstance(parsed, int | float) and not isinstance(parsed, bool) and math.isfinite(parsed):
        return float(parsed)
    if base == "int" and isinstance(parsed, int) and not isinstance(parsed, bool):
        return parsed
    if base == "bool" and isinstance(parsed, bool):
        return parsed
    if base.startswith("tuple") and isinstance(parsed, list | tuple):
        return _frozen(parsed)
    kinds = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
    kind = kinds.get(base, f"of the form {base}")
    raise UserError(f"{what}: '{value}' is not {kind}{' or none' if optional else ''}.")


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


def show(value: Any) -> str:
    """The text that :func:`convert` reads back as ``value``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).replace(" ", "") if isinstance(value, tuple) else str(value)
