"""Pre-trained image towers as modules: timm's architectures with a package's, a file's or the hub's weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from clipfed_bench.core.errors import DamagedFileError, TeacherError, nearest, shown
from clipfed_bench.core.notices import notice
from clipfed_bench.core.untrusted import read_json, reading
from clipfed_bench.teacher.features import digest, file_sha256
from clipfed_bench.teacher.preprocess import Preprocess
from clipfed_bench.teacher.towers import PACKAGED, Tower, packaged_weights
from clipfed_bench.toolbox.tensor_files import all_finite

_CONFIG = "config.json"
"""What the hub's repositories of timm have beside their weights."""

_PREPROCESS = ("mean", "std", "interpolation", "input_size")


@dataclass(frozen=True, eq=False)
class FrozenTower:
    """An image tower in evaluation mode, without its classifier."""

    trunk: nn.Module
    """(B, 3, H, W) normalized images -> (B, D) pooled features."""
    preprocess: Preprocess
    """The whole image at the tower's size: timm's own cut the edges off, where triggers are."""
    architecture: str
    origin: str
    """Where the weights are from, for people."""
    sha256: str
    """Of the file (with the configuration beside it, if there is one), or of the tensors where the hub has them."""


def identity(tower: Tower) -> str:
    """What tells the weights of ``tower`` from others without loading them: a sha256, or timm's name of them.

    Raises TeacherError where they are not here.
    """
    if tower.packaged:
        return file_sha256(packaged_weights(tower).path)
    if tower.file is not None:
        if not tower.file.is_file():
            raise TeacherError(f"tower '{shown(tower.name)}': there is no file '{tower.file}'.")
        config, weights = tower.file.with_name(_CONFIG), file_sha256(tower.file)
        return digest(weights, file_sha256(config)) if config.is_file() else weights
    return tower.name


def load_tower(tower: Tower, image_size: int | None) -> FrozenTower:
    """The tower with its weights, on the CPU; ``image_size`` None means :data:`.towers.PACKAGED`'s or its own.

    Raises TeacherError for an architecture that timm does not have, and for weights that are not here or do not fit.
    """
    base, _, tag = tower.architecture.partition(".")
    tagged = timm.list_pretrained(f"{base}.*")
    if base not in (models := timm.list_models()) or (tag and tower.architecture not in tagged):
        hint = nearest(tower.architecture, tagged if tag and tagged else models, 0.6)
        raise TeacherError(f"tower '{shown(tower.name)}': timm has no model '{tower.architecture}'.{hint}")
    known = identity(tower)
    if tower.packaged:
        source = packaged_weights(tower)
        trunk, origin = _packaged(tower, source.path), source.origin
    else:
        trunk, origin = _of_timm(tower), "timm" if tower.file is None else tower.file.name
        known = known if tower.file is not None else digest(*trunk.state_dict().values())
    if not all_finite(trunk.state_dict().values()):
        raise TeacherError(f"tower '{shown(tower.name)}': its weights hold numbers that are not finite.")
    config: dict[str, Any] = trunk.pretrained_cfg  # type: ignore[assignment]
    size = image_size or PACKAGED.get(tower.name) or config["input_size"][-1]
    preprocess = Preprocess.of({**config, "size": size, "resize_mode": "squash"})
    trunk = trunk.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return FrozenTower(trunk, preprocess, tower.architecture, origin, known)


def _packaged(tower: Tower, path: object) -> nn.Module:
    """timm's architecture with weights of the same layers under other names, in the same order."""
    trunk: nn.Module = timm.create_model(tower.architecture, pretrained=False, num_classes=0)
    own = trunk.state_dict()
    try:
        with reading():
            theirs: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")  # type: ignore[arg-type]
            pairs = dict(zip(own, theirs.values(), strict=False))
            classifier = list(theirs.values())[len(own) :]
            if [v.shape for v in pairs.values()] != [v.shape for v in own.values()] or len(classifier) != 2:
                raise DamagedFileError("its layers are not those of the architecture")
    except DamagedFileError as error:
        raise TeacherError(
            f"tower {tower.name}: the weights '{path}' are not read: {error}; install them anew."
        ) from error
    trunk.load_state_dict(pairs)
    return trunk


def _of_timm(tower: Tower) -> nn.Module:
    """timm's own weights, of its hub or a file, by weights alone."""
    overlay: dict[str, Any] = (
        {} if tower.file is None else {"pretrained_cfg_overlay": {**_beside(tower), "file": str(tower.file)}}
    )
    try:
        with reading():
            trunk: nn.Module = timm.create_model(tower.architecture, pretrained=True, num_classes=0, **overlay)
    except (DamagedFileError, OSError) as error:
        from_where = "the hub" if tower.file is None else f"'{tower.file}'"
        raise TeacherError(
            f"tower '{shown(tower.name)}': its weights do not load from {from_where}: {shown(error, 240)}.\n"
            "A file must be a state dict of that architecture, readable with weights_only; or use a tower of "
            f"{', '.join(PACKAGED)}."
        ) from error
    return trunk


def _beside(tower: Tower) -> dict[str, Any]:
    """How weights from a file see images, as the configuration beside them has it.

    Where there is none and timm knows weights of the architecture that see them differently, that is said. Raises
    TeacherError for a configuration that is damaged, or of another architecture.
    """
    assert tower.file is not None
    path, base = tower.file.with_name(_CONFIG), tower.architecture.partition(".")[0]
    if not path.is_file():
        known = map(timm.get_pretrained_cfg, timm.list_pretrained(f"{base}.*"))
        if len({str([getattr(config, name) for name in _PREPROCESS]) for config in known if config}) > 1:
            notice(
                f"tower {shown(tower.file)}: there is no {_CONFIG} beside it, so its images are normalized and resized "
                f"as timm's {tower.architecture}. Other weights of that name want it otherwise: name timm:NAME.TAG, or "
                "copy the file from where they are."
            )
        return {}
    try:
        found = read_json(path)
        architecture, config = str(found["architecture"]), {**found.get("pretrained_cfg", {})}
        _, _, _ = map(int, config.get("input_size", (3, 1, 1)))
    except (DamagedFileError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TeacherError(
            f"{shown(path)}: not what the hub has beside weights of timm, JSON with architecture and pretrained_cfg: "
            f"{shown(error)}."
        ) from error
    if architecture.partition(".")[0] != base:
        raise TeacherError(
            f"{shown(path)} is of {shown(architecture)}, not of {base}. Name timm:{shown(architecture)}@FILE, or "
            "remove it where it does not belong to these weights."
        )
    return {name: config[name] for name in _PREPROCESS if name in config}
