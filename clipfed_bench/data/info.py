"""What is known of a data set without reading it: by its source, nothing of which is run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from clipfed_bench.components.described import assigned, check_classes, defines, literals, parse
from clipfed_bench.core.errors import UserError, shown

CLIP = "open_clip:ViT-L-14/openai"
"""The teacher for photos [paper]."""

_FIELDS = (
    *("classes", "train_per_class", "test_per_class", "captions", "teacher", "writers", "image_shape"),
    *("server_data", "embedded", "source", "aliases", "mean", "exact"),
)


@dataclass(frozen=True)
class Info:
    """A data set before its long tail is cut."""

    name: str
    summary: str
    classes: tuple[str, ...]
    train: tuple[int, ...]
    """Training images of each class."""
    test: tuple[int, ...]
    """Test images of each class."""
    server_data: str | None
    """Used when none is named; None: there are none of its own."""
    teacher: str
    """Used when none is named."""
    module: str
    """Where its :class:`clipfed_bench.api.DataSource` is."""
    mean: tuple[float, ...] | None = None
    """Of the training pixels in [0, 1], if it tells the real data set from a generated one of the same size."""
    captions: tuple[str, ...] = ()
    """Templates for server images without captions; the built-in ones if there are none."""
    image_shape: tuple[int, int, int] = (3, 32, 32)
    """(C, S, S): images are square."""
    writers: int = 0
    """Who made the training images, at most so many; 0 where it is not known."""
    stored: bool = False
    """Whether its files, and those of its generated server data, are looked for by content."""
    aliases: tuple[str, ...] = ()
    """What files may call the classes, by label; empty if not otherwise."""
    exact: bool = True
    """Whether a copy must hold exactly these numbers of images."""
    embedded: str = ""
    """File of an installed package that has all images, if one has."""
    source: str = ""
    """What results say that loaded images are from."""

    @property
    def photographs(self) -> bool:
        """Whether it is one of photographs in files, which CLIP and pre-trained towers know."""
        return self.stored and self.teacher == CLIP

    @property
    def made_server_data(self) -> str | None:
        """The server data that the data set makes itself, if it does."""
        return self.server_data if self.server_data == f"{self.name}-generated" and not self.stored else None

    @property
    def side(self) -> int:
        """Of the images, pixels."""
        return self.image_shape[-1]

    def counts(self, split: str) -> tuple[int, ...]:
        """Images of each class in ``train`` or ``test``."""
        return self.train if split == "train" else self.test

    def rows(self, split: str) -> int:
        """Images of ``train`` or ``test``."""
        return sum(self.counts(split))


def describe(name: str, module: str, origin: str | None) -> Info:
    """The data set ``name`` of which ``module``, whose file is ``origin``, is the source.

    Raises UserError where it is not one class that states what there is as literals.
    """
    tree = parse("dataset", name, module, origin)
    if name.endswith("-lt"):
        raise UserError("its name ends with '-lt', which stands for a long tail that is cut from a data set.")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    check_classes("DataSource", module, classes)
    stated = dict(item for node in classes for item in literals(node, _FIELDS))
    names = _texts("classes", stated.get("classes"))
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError("it must state its classes: a tuple of two or more different names.")
    teacher = _text("teacher", stated.get("teacher", CLIP), " as for --teacher")
    server_data = _text("server_data", stated.get("server_data", ""), " as for --server-data")
    captions = _texts("captions", stated.get("captions", ()))
    if not all(text.count("{}") == 1 for text in captions):
        raise UserError("each of its captions must hold {} once, where the name of the class goes.")
    writers = stated.get("writers", 0)
    if type(writers) is not int or writers < 0:
        raise UserError(f"its writers are {shown(writers)}; their number is needed, 0 if it is not known.")
    aliases = _texts("aliases", stated.get("aliases", ()))
    if len(aliases) not in (0, len(names)):
        raise UserError(f"it has {len(aliases)} aliases and {len(names)} classes; one for each is needed, or none.")
    exact = stated.get("exact", True)
    if not isinstance(exact, bool):
        raise UserError(f"its exact is {shown(exact)}; True or False is needed.")
    shape = _shape(stated.get("image_shape", Info.image_shape))
    stored = any(name == "forms" for node in classes for name, _ in assigned(node))
    own = stored or any(defines(node, "generated") for node in classes)
    return Info(
        name,
        (ast.get_docstring(tree) or "").partition("\n")[0],
        names,
        _counts("train_per_class", stated.get("train_per_class"), len(names)),
        _counts("test_per_class", stated.get("test_per_class"), len(names)),
        server_data or (f"{name}-generated" if own else None),
        teacher,
        module,
        _mean(stated.get("mean"), shape[0]),
        captions,
        shape,
        writers,
        stored,
        aliases,
        exact,
        _text("embedded", stated.get("embedded", "")),
        _text("source", stated.get("source", "")),
    )


def _text(name: str, value: Any, kind: str = "") -> str:
    if not isinstance(value, str):
        raise UserError(f"its {name} is {shown(value)}; a text{kind} is needed.")
    return value


def _mean(value: Any, channels: int) -> tuple[float, ...] | None:
    fits = isinstance(value, tuple) and len(value) == channels and all(isinstance(v, float) for v in value)
    if value is None:
        return None
    if not fits:
        raise UserError(f"its mean is {shown(value)}; a number in [0, 1] for each of {channels} channels is needed.")
    return tuple(value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, tuple) or not all(isinstance(text, str) and text and text.isprintable() for text in value):
        raise UserError(f"its {name} must be a tuple of texts, as in {name} = ('cat', 'dog'); it is {shown(value)}.")
    return value


def _counts(name: str, value: Any, classes: int) -> tuple[int, ...]:
    counts = value if isinstance(value, tuple) else (value,) * classes
    if len(counts) != classes or not all(type(count) is int and 1 <= count < 2**31 for count in counts):
        raise UserError(
            f"its {name} must be a whole number above 0, or a tuple with one for each of its {classes} classes; it is "
            f"{shown(value)}."
        )
    return counts


def _shape(value: Any) -> tuple[int, int, int]:
    fits = isinstance(value, tuple) and len(value) == 3 and all(type(size) is int for size in value)
    if not fits or value[0] not in (1, 3) or value[1] != value[2] or not 8 <= value[1] <= 1024:
        raise UserError(
            f"its image_shape is {shown(value)}; (C, S, S) is needed, as in (1, 28, 28): 1 or 3 channels, 8 to "
            "1024 pixels."
        )
    return value[0], value[1], value[2]
