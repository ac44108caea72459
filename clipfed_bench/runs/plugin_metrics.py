"""Metrics of other packages: known by their source, imported when a cell is measured, and checked in what they give."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from clipfed_bench.components.described import check_classes, defines, literals, parse
from clipfed_bench.components.entry_points import load
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.metric import Measurement, Recorded, TestOutputs
from clipfed_bench.runs.columns import of_cells, of_history, of_provenance
from clipfed_bench.runs.metrics import Metric

_BETTER = ("highest", "lowest", None)
_KINDS = ("fraction", "number", "integer")
_PREFIXES = ("info_", "final_", "provenance_", "digest_", "version_", "metric_", "seconds_")
"""Of columns that are no metrics."""


def describe(name: str, module: str, origin: str | None) -> Metric:
    """The metric ``name`` of which ``module``, whose file is ``origin``, is the source; nothing of it runs yet.

    Raises UserError where it is not one class that states what tables need as literals, or is called like a column.
    """
    tree = parse("metrics", name, module, origin)
    _check_name(name)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    check_classes("Measurement", module, classes)
    own = [node for node in classes if any(defines(node, method) for method in ("measure", "final"))]
    if not own:
        raise UserError(f"{module} must define measure, final, or both.")
    says: dict[str, Any] = {"better": None, "kind": "fraction"}
    says |= (item for node in classes for item in literals(node, ("label", "better", "kind")))
    _check_stated(says)
    meaning = (ast.get_docstring(tree) or "").partition("\n")[0].rstrip(".")
    if not meaning:
        raise UserError(f"{module} has no docstring; its first line says what the metric is.")
    measures = any(defines(node, "measure") for node in own)
    return Metric(
        name,
        says["label"],
        meaning,
        says["better"],
        partial(_final, name, module, says["kind"], measures),
        meaning if measures else None,
        says["kind"],
        measure=partial(_measure, name, module, says["kind"]) if measures else None,
        module=module,
    )


def _check_name(name: str) -> None:
    columns = {column.name for column in (*of_cells(), *of_provenance(), *of_history())}
    if name in {*columns, "error", "created"} or name.startswith(_PREFIXES) or not name.isidentifier():
        raise UserError(f"'{shown(name)}' is or could be another column of the results; rename its file.")


def _check_stated(says: Mapping[str, Any]) -> None:
    label = says.get("label")
    if not isinstance(label, str) or not 0 < len(label.strip()) <= 40 or not label.isprintable():
        raise UserError("it must state its label, what tables call it: a text of at most 40 characters.")
    for field, possible in (("better", _BETTER), ("kind", _KINDS)):
        if says[field] not in possible:
            words = ", ".join(str(word) for word in possible)
            raise UserError(f"its {field} is {shown(says[field])}; possible are {words}.")


@cache
def _made(name: str, module: str) -> Measurement:
    made: Measurement = load("metric", name, module, Measurement)[1]()
    return made


def _measure(name: str, module: str, kind: str, outputs: TestOutputs) -> float:
    return _asked(name, module, kind, "measure", lambda made: made.measure(outputs))


def _final(name: str, module: str, kind: str, measures: bool, cell: Recorded) -> float:
    values = [row.get(name, math.nan) for row in cell.evaluations] if measures else []
    return _asked(name, module, kind, "final", lambda made: made.final(values, cell))


def _asked(name: str, module: str, kind: str, method: str, ask: Callable[[Measurement], Any]) -> float:
    """What a metric answers, a number of its kind or NaN. Raises UserError, naming it, for anything else."""
    whose = f"metric '{name}' of {module}: {method}"
    try:
        answer = ask(_made(name, module))
    except UserError as error:
        raise UserError(f"{whose}: {error}") from error
    except Exception as error:
        raise UserError(f"{whose} raises {type(error).__name__}: {shown(error, 300)}") from error
    try:
        value = float(answer)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{whose} gives {_spoken(answer)}; one number is needed.") from None
    fits = not math.isinf(value) if kind == "number" else value == int(value) if math.isfinite(value) else False
    if kind == "fraction":
        fits = 0 <= value <= 1
    if not fits and not math.isnan(value):
        needed = {"fraction": "a fraction, from 0 to 1,", "number": "a finite number", "integer": "a whole number"}
        raise UserError(f"{whose} gives {value:g}; {needed[kind]} is needed, or nan where there is nothing to measure.")
    return value


def _spoken(answer: object) -> str:
    shape = getattr(answer, "shape", None)
    return f"a {type(answer).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")
