"""Columns of Arrow tables as images, labels and captions, in whatever Arrow type a library wrote them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipfed_bench.core.errors import DataError, shown
from clipfed_bench.core.splits import Bytes, Index
from clipfed_bench.data.arrays import check_captions, check_labels, decode_all
from clipfed_bench.data.class_names import class_indices

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = {
    "image": ("img", "image"),
    "label": ("fine_label", "label", "labels"),
    "caption": ("caption", "text", "prompt"),
}
"""What each column may be called; the first that is there is taken."""

_ALIKE = {
    "image": re.compile(r"im(a)?g|photo|pict|pixel|png|jpe?g|webp", re.I),
    "label": re.compile(r"label|class|target|categor|^y$", re.I),
    "caption": re.compile(r"caption|text|prompt|descri|sentence", re.I),
}


def find_column(schema: pa.Schema, role: str) -> str | None:
    """The column that is the ``role``. Captions of another type than text are none: they can be done without."""
    named = [name for name in NAMES[role] if name in schema.names]
    return next((n for n in named if role != "caption" or is_text(schema.field(n).type)), None)


def not_taken(schema: pa.Schema, role: str) -> str:
    """Of columns that look like the ``role``, but are called otherwise or have another type: a sentence, or nothing."""
    alike = [name for name in schema.names if _ALIKE[role].search(name)]
    if not alike:
        return ""
    seen = ", ".join(f"{shown(name)} ({shown(schema.field(name).type)})" for name in alike[:5])
    needed = ", ".join(NAMES[role]) + (" of text" if role == "caption" else "")
    return f"not taken for the {role}: {seen}; needed is one of {needed}"


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of type ``kind`` holds text, plain or as a dictionary (a categorical)."""
    import pyarrow as pa

    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def images(column: Any, name: str, where: str, first: int, side: int, resize: bool) -> Bytes:
    """Encoded images, plain or in structs with ``bytes``, decoded; ``first`` is the number of the first row.

    Raises DataError for a row without one, and as :func:`clipfed_bench.data.arrays.decode`.
    """
    encoded: list[bytes] = []
    for row, cell in enumerate(column.to_pylist(), first):
        item = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(item, bytes):
            raise DataError(f"{where}: row {row} has no image bytes in column '{name}', which is {shown(column.type)}.")
        encoded.append(item)
    return decode_all(encoded, side, lambda row: f"{where}: row {first + row}", resize, where)


def captions(column: Any, where: str, first: int) -> list[str]:
    """Texts; empty where there is none. Raises DataError for one that is too long."""
    texts = [text or "" for text in column.to_pylist()]
    check_captions(texts, lambda row: f"{where}: row {first + row}")
    return texts


def labels(column: Any, name: str, names: Sequence[str] | None, classes: Sequence[str], where: str) -> Index:
    """All labels of a file as indices into ``classes``.

    They are class names, or integers of any width: indices into ``names``, else into ``classes``.
    Raises DataError for other types, rows without a label, labels out of range and foreign names.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if column.null_count:
        raise DataError(f"{where}: {column.null_count:,} of {len(column):,} rows have no label in column '{name}'.")
    if is_text(kind):
        texts = column.to_pylist()
        known = sorted(set(texts))
        index = dict(zip(known, class_indices(known, classes, where), strict=True))
        return np.array([index[text] for text in texts], dtype=np.int64)
    if not pa.types.is_integer(kind):
        raise DataError(f"{where}: column '{name}' is {shown(kind)}; integers or class names are needed.")
    # Not to_numpy(), which imports pandas: a worker would start a third of a second later.
    found: Index = np.from_dlpack(column.combine_chunks()).astype(np.int64)
    check_labels(found, len(names or classes), where)
    return found if names is None else np.array(class_indices(names, classes, where), dtype=np.int64)[found]
