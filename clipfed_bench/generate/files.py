"""The finished file: parquet in the layout of the Hugging Face hub, with captions, seeds and provenance.

Read by :mod:`clipfed_bench.data.formats.parquet`, and by the library ``datasets`` as it is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipfed_bench.core.errors import DamagedFileError, UserError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.untrusted import parquet_file, parse_json
from clipfed_bench.generate.parts import Drawn
from clipfed_bench.generate.settings import Settings, check_alike

KEY = b"clipfed_bench"
"""Of the schema's metadata: JSON with ``settings`` and ``facts``."""

_ROWS = 1000
"""In a row group."""


def write_parquet(out: Path, images: Sequence[Drawn], settings: Settings, facts: Mapping[str, Any]) -> None:
    """Write ``images`` (by position) to ``out``, whole or not at all.

    Columns: ``img`` {bytes: PNG, path}, ``label`` int64 with class names in the schema's ``huggingface`` metadata,
    ``caption`` (the prompt) and ``seed`` int64. Equal arguments give equal bytes with one version of pyarrow.
    """
    classes = settings.classes
    rows = []
    for image in images:
        index, label = divmod(image.position, len(classes))
        picture = {"bytes": image.png, "path": f"{classes[label]}-{index:05}.png"}
        rows.append({"img": picture, "label": label, "caption": image.prompt, "seed": image.seed})
    features = {
        "img": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "caption": {"dtype": "string", "_type": "Value"},
        "seed": {"dtype": "int64", "_type": "Value"},
    }
    own = {"settings": settings.as_dict(), "facts": dict(facts)}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}), KEY: json.dumps(own)}
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), buffer, row_group_size=_ROWS)
    write_atomically(out, buffer.getvalue())


def read_metadata(path: Path) -> dict[str, Any] | None:
    """What :func:`write_parquet` wrote down, or None in a file that it did not write."""
    try:
        with parquet_file(path) as file:
            return dict(parse_json(file.schema_arrow.metadata[KEY]))
    except DamagedFileError:
        return None


def check_finished(out: Path, settings: Settings) -> bool:
    """Whether ``out`` is there and was made with ``settings``, of which the pipeline's part may be open.

    Raises UserError: it is there and is something else.
    """
    if not out.exists():
        return False
    metadata = read_metadata(out)
    if metadata is None:
        raise UserError(f"--out {out} exists and was not made by this command; choose another name, or delete it.")
    what, way_out = f"--out {out} exists and was made with other settings", "Choose another name, or delete it."
    check_alike(metadata["settings"], settings.as_dict(), what, way_out)
    return True
