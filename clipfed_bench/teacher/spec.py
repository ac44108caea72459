"""Teacher specs as text, parsed and checked without torch.

open_clip:MODEL/TAG               open_clip's weights, e.g. open_clip:ViT-L-14/openai [paper]
open_clip:MODEL@/path/checkpoint  a local checkpoint (.pt by weights only, or .safetensors)
local, local[epochs=30,seed=1]    a small dual encoder trained once on the server data set given, then cached
lit, lit[tower=efficientnet-lite0]  the same on a frozen image tower that was pre-trained on photographs
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipfed_bench.core.errors import TeacherError, shown
from clipfed_bench.core.files import expand
from clipfed_bench.core.values import parse_choice
from clipfed_bench.teacher.lit_recipe import LitRecipe, lit_recipe
from clipfed_bench.teacher.recipe import Recipe, recipe

CONFIG = "open_clip_config.json"
"""What the hub's repositories of open_clip have beside their weights."""

GRAMMAR = (
    "a teacher is open_clip:MODEL/TAG (e.g. open_clip:ViT-L-14/openai), open_clip:MODEL@/path/to/checkpoint, "
    "lit or local, or either with options, lit[option=value,...]"
)


@dataclass(frozen=True)
class TeacherSpec:
    """Which teacher; exactly the fields of its kind are set."""

    kind: Literal["pretrained", "checkpoint", "local", "lit"]
    model: str = ""
    tag: str = ""
    path: Path | None = None
    recipe: Recipe | LitRecipe | None = None

    @property
    def trained(self) -> bool:
        """Whether it is trained here, on the server data."""
        return self.recipe is not None


def parse_teacher_spec(spec: str) -> TeacherSpec:
    """Read a spec of the grammar above.

    Raises UserError (most often its subclass TeacherError) where it is not of that form. Whether model, tag and file
    exist is seen when the teacher is loaded.
    """
    text = spec.strip()
    name = text.partition("[")[0]
    if name == "local":
        return TeacherSpec("local", recipe=recipe(parse_choice(text)[1]))
    if name == "lit":
        return TeacherSpec("lit", recipe=lit_recipe(parse_choice(text)[1]))
    prefix, colon, rest = text.partition(":")
    if prefix != "open_clip" or not colon:
        raise TeacherError(f"'{shown(spec)}' is not a teacher: {GRAMMAR}.")
    # The path may hold slashes and tags never hold '@', so the first '@' decides.
    model, at, path = rest.partition("@")
    if at:
        if not model or not path:
            raise TeacherError(f"'{shown(spec)}' lacks its {'model' if not model else 'path'}: {GRAMMAR}.")
        return TeacherSpec("checkpoint", model=_named(model, spec), path=expand(path, f"teacher '{shown(spec)}'"))
    model, slash, tag = rest.rpartition("/")
    if not slash or not model or not tag:
        model = shown(rest.strip("/") or "ViT-L-14", 40)
        raise TeacherError(f"'{shown(spec)}' lacks a tag, as in open_clip:{model}/openai: {GRAMMAR}.")
    return TeacherSpec("pretrained", model=_named(model, spec), tag=tag)


def _named(name: str, spec: str) -> str:
    """``name`` if it can be a model's, which never holds a path."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise TeacherError(f"'{shown(spec)}': '{shown(name)}' is no name of a model: {GRAMMAR}.")
    return name
