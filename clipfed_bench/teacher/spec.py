"""Teacher specs as text, parsed and checked without torch.

open_clip:MODEL/TAG               open_clip's weights, e.g. open_clip:ViT-L-14/openai [paper]
open_clip:MODEL@/path/checkpoint  a local checkpoint (.pt by weights only, or .safetensors)
local, local[epochs=30,seed=1]    a small dual encoder trained once on the server data set given, then cached
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipfed_bench.errors import TeacherError
from clipfed_bench.teacher.recipe import Recipe, recipe
from clipfed_bench.values import parse_choice

GRAMMAR = (
    "a teacher is open_clip:MODEL/TAG (e.g. open_clip:ViT-L-14/openai), open_clip:MODEL@/path/to/checkpoint, "
    "local, or local[option=value,...]"
)


@dataclass(frozen=True)
class TeacherSpec:
    """Which teacher; exactly the fields of its kind are set."""

    kind: Literal["pretrained", "checkpoint", "local"]
    model: str = ""
    tag: str = ""
    path: Path | None = None
    recipe: Recipe | None = None


def parse_teacher_spec(spec: str) -> TeacherSpec:
    """Read a spec of the grammar above.

    Raises UserError (most often its subclass TeacherError) where it is not of that form. Whether model, tag and file
    exist is seen when the teacher is loaded.
    """
    text = spec.strip()
    if text == "local" or text.startswith("local["):
        return TeacherSpec("local", recipe=recipe(parse_choice(text)[1]))
    prefix, colon, rest = text.partition(":")
    if prefix != "open_clip" or not colon:
        raise TeacherError(f"'{spec}' is not a teacher: {GRAMMAR}.")
    # The path may hold slashes and tags never hold '@', so the first '@' decides.
    model, at, path = rest.partition("@")
    if at:
        if not model or not path:
            raise TeacherError(f"'{spec}' lacks its {'model' if not model else 'path'}: {GRAMMAR}.")
        return TeacherSpec("checkpoint", model=model, path=Path(path).expanduser())
    model, slash, tag = rest.rpartition("/")
    if not slash or not model or not tag:
        raise TeacherError(f"'{spec}' lacks a tag, as in open_clip:{rest.strip('/') or 'ViT-L-14'}/openai: {GRAMMAR}.")
    return TeacherSpec("pretrained", model=model, tag=tag)
