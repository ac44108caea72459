"""What a generated data set depends on, and how two of them differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from clipfed_bench.core.errors import UserError
from clipfed_bench.data.class_names import normalize
from clipfed_bench.generate.models import DEFAULT_MODEL, DEFAULT_PER_CLASS, Dtype, known_model
from clipfed_bench.generate.prompts import VERSION

OPEN = ("commit", "steps", "guidance")
"""Settings that only the loaded pipeline tells where they are None."""


@dataclass(frozen=True)
class Settings:
    """Everything that an image of the data set depends on, besides library versions and the device's rounding.

    All defaults are ours: the paper states neither generator nor sizes nor prompts.
    """

    classes: tuple[str, ...]
    per_class: int = DEFAULT_PER_CLASS["cuda"]
    """Images of each class [ours: as many as `--server-per-class` uses]."""
    model: str = DEFAULT_MODEL["cuda"]
    """Id on the Hugging Face hub, or a folder saved by diffusers."""
    revision: str | None = None
    """Branch, tag or commit on the hub, as the user gave it."""
    commit: str | None = None
    """What was loaded: the commit on the hub, or a fingerprint of a local folder's files; None before."""
    steps: int | None = None
    """Denoising steps; the known model's, else the pipeline's own."""
    guidance: float | None = None
    """Classifier-free guidance; the known model's, else the pipeline's own."""
    size: int | None = None
    """Side of generated images in pixels; the known model's, else the pipeline's own."""
    image_size: int = 32
    """Side of stored images in pixels, center crop and Lanczos [ours: CIFAR's 32]."""
    seed: int = 0
    dtype: Dtype = "auto"
    """Of the weights; see :func:`resolve`."""
    templates: tuple[str, ...] | None = None
    """The user's own prompts, with ``{}`` for the class name; None for the built-in ones."""

    def __post_init__(self) -> None:
        names = [normalize(name) for name in self.classes]
        if not names or not all(names):
            raise UserError("--classes: at least one name is needed, and none may be empty; e.g. airplane,bird,cat.")
        double = next((n for n in names if names.count(n) > 1), None)
        if double:
            raise UserError(f"--classes: '{double}' is named twice.")
        least = {"per_class": 1, "steps": 1, "guidance": 0, "size": 8, "image_size": 8, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise UserError(f"--{name.replace('_', '-')} {value}: at least {low} is needed.")
        if self.size is not None and self.size % 8:
            raise UserError(f"--size {self.size}: a multiple of 8 is needed; many models want one of 64, e.g. 512.")
        if self.dtype not in get_args(Dtype):
            raise UserError(f"--dtype '{self.dtype}': one of {', '.join(get_args(Dtype))} is needed.")

    @property
    def total(self) -> int:
        """Images in all."""
        return len(self.classes) * self.per_class

    def as_dict(self) -> dict[str, Any]:
        """For JSON. Of own templates a hash stands for the texts, and of a local model the folder's name."""
        values = asdict(self)
        del values["templates"]
        return values | {
            "classes": list(self.classes),
            "model": Path(self.model).name if is_folder(self.model) else self.model,
            "prompts": _name_of(self.templates),
        }


def is_folder(model: str) -> bool:
    """Whether ``model`` names a folder on this machine and not a model on the hub."""
    return Path(model).expanduser().is_dir()


def _name_of(templates: Sequence[str] | None) -> str:
    if templates is None:
        return f"built-in {VERSION}"
    return "own " + hashlib.sha256("\n".join(templates).encode()).hexdigest()[:16]


def resolve(settings: Settings, device: str) -> Settings:
    """With what the table of known models says in place of what is left open; ``device`` is ``cpu`` or ``cuda``.

    ``dtype`` auto is float32 on a CPU; on a GPU it is the known model's, else bfloat16, which never overflows.
    """
    known = known_model(settings.model)
    changes: dict[str, Any] = {
        name: getattr(known, name)
        for name in ("steps", "guidance", "size")
        if known is not None and getattr(settings, name) is None
    }
    if settings.dtype == "auto":
        gpu = known.dtype if known else "bfloat16"
        changes["dtype"] = "float32" if device == "cpu" else gpu
    return replace(settings, **changes)


def check_alike(there: Mapping[str, Any], here: Mapping[str, Any], what: str, way_out: str) -> None:
    """Raise UserError where settings that are not open ``here`` differ, one a line: ``steps: 50 there, 25 here``."""
    alike = [name for name in OPEN if here.get(name) is None]
    names = [name for name in {**there, **here} if name not in alike and there.get(name) != here.get(name)]
    lines = [f"\n  - {name}: {_show(there.get(name))} there, {_show(here.get(name))} here" for name in names]
    if lines:
        raise UserError(f"{what}:{''.join(lines)}\n{way_out}")


def _show(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
