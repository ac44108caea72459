"""What a run needs besides the settings of its cells: what is there, what will be made or fetched, what is missing.

Looked at before anything is computed, so that what is missing is said once. Nothing is written, and nothing is read
that is large.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.grid import Axes
from clipfed_bench.core.errors import AbsentError, TeacherError, UserError
from clipfed_bench.core.files import expand
from clipfed_bench.core.paths import cache_root, data_root
from clipfed_bench.data import catalog
from clipfed_bench.data.feasible import holdout_size
from clipfed_bench.execution.session import Session
from clipfed_bench.teacher import towers
from clipfed_bench.teacher.lit_recipe import LitRecipe
from clipfed_bench.teacher.spec import parse_teacher_spec

K = TypeVar("K")

State = Literal["there", "made", "fetched", "missing"]

HELD_OUT = 100
"""Real images a class that stand in for generated ones at the CPU scale [ours]."""
FREQUENCY = "frequency[variant=amplitude]"
"""The frequency trigger for gray images."""
_CELL = 1_000_000
"""Bytes that a cell leaves on disk, generously."""
_MODEL = {"resnet18": 45_000_000, "cnn": 800_000}
"""Bytes of a model's parameters; a checkpoint holds a few of them."""


@dataclass(frozen=True)
class Need:
    """One thing that cells need."""

    what: str
    state: State
    detail: str
    """Where it is, how large it is, or why it cannot be had."""
    cells: tuple[str, ...]
    """Keys of the cells that cannot run without it."""


def needs(session: Session) -> list[Need]:
    """Everything that the cells of ``session`` that are to be run need, in the order in which they need it."""
    cells, places = session.todo, session.places
    found: list[Need] = []
    if not cells:
        return found
    for base, users in _grouped(cells, lambda cell: catalog.base_name(cell.dataset)):
        found.append(_found(f"data set {base}", users, partial(_data, base, places.data_dir)))
    with_data = [cell for cell in cells if cell.server_data is not None]
    for (base, name), users in _grouped(with_data, lambda cell: (catalog.base_name(cell.dataset), cell.server_data)):
        found.append(_found(f"server data {name}", users, partial(_server_data, base, str(name), places.data_dir)))
    taught = [cell for cell in cells if cell.teacher is not None]
    for (teacher, base), users in _grouped(taught, lambda cell: (cell.teacher, catalog.base_name(cell.dataset))):
        found.append(_found(f"teacher {teacher}", users, partial(_teacher, str(teacher), base)))
    keys = tuple(cell.key for cell in cells)
    for what, folder in (("run folder", places.folder), ("cache", places.cache_dir or cache_root())):
        found.append(_folder(what, folder, keys))
    return [*found, _disk(session)]


def missing(found: Iterable[Need]) -> list[Need]:
    """Those of ``found`` without which cells cannot run."""
    return [need for need in found if need.state == "missing"]


def with_server_data(axes: Axes, data_dir: Path | None) -> Axes:
    """``axes``, at the CPU scale, with held-out real images where generated ones, the default, are nowhere."""
    from clipfed_bench.data.formats.server_images import by_name

    if "server_data" in axes.values:
        return axes
    for base in {catalog.base_name(name) for name in axes.values["dataset"]}:
        if catalog.info(base).server_data == f"{base}-generated" and catalog.info(base).stored:
            try:
                by_name(base, data_root(data_dir))
            except AbsentError:
                return axes.override({"server_data": [f"holdout:{HELD_OUT}"]})
            except UserError:
                pass  # something is there, and what is wrong with it is to be said
    return axes


def with_teacher(axes: Axes) -> Axes:
    """``axes``, at the CPU scale, with a teacher on a pre-trained image tower for photographs, if that is installed.

    It takes the place of a local teacher; teachers that are compared stay what they are.
    """
    photographs = all(catalog.info(name).photographs for name in axes.values["dataset"])
    stands = list(axes.values["teacher"]) == ["local"]
    return axes.override({"teacher": ["lit"]}) if photographs and stands and towers.installed() else axes


def for_gray(axes: Axes, given: Collection[str]) -> Axes:
    """``axes`` of a whole grid on gray images, at its defaults but for the settings that are ``given``.

    The model is the small CNN, at any scale, and FIBA's trigger stands for FTrojan's, which changes chroma [ours].
    """
    if any(catalog.info(name).image_shape[0] > 1 for name in axes.values["dataset"]):
        return axes
    attacks = [FREQUENCY if str(a).startswith("frequency") else a for a in axes.values["attack"]]
    usual = {"model": ["cnn"], "attack": attacks}
    return axes.override({name: values for name, values in usual.items() if name not in given})


def _grouped(cells: Iterable[CellSpec], by: Callable[[CellSpec], K]) -> list[tuple[K, tuple[str, ...]]]:
    groups: dict[K, list[str]] = {}
    for cell in cells:
        groups.setdefault(by(cell), []).append(cell.key)
    return [(name, tuple(keys)) for name, keys in groups.items()]


def _found(what: str, users: tuple[str, ...], ask: Callable[[], tuple[State, str]]) -> Need:
    try:
        return Need(what, *ask(), users)
    except UserError as error:
        return Need(what, "missing", str(error), users)


def _data(name: str, data_dir: Path | None) -> tuple[State, str]:
    from clipfed_bench.data.formats import find

    known, root = catalog.info(name), data_root(data_dir)
    if not known.stored:
        return "there", "embedded" if known.embedded else "of a plug-in"
    found = find.locate(known, root)
    if found is not None:
        return "there", f"{found.kind}, {found.where}"
    archive = find.published(known)
    assert archive is not None
    return "fetched", f"{archive.size / 1e6:.0f} MB from {archive.url} to {root}"


def _server_data(base: str, name: str, data_dir: Path | None) -> tuple[State, str]:
    from clipfed_bench.data.formats.server_images import by_name, by_path

    size = holdout_size(name)
    if size is not None:
        return "there", f"{size} real images a class that no client holds: an upper bound"
    if name == "glyphs":
        return "made", "rendered from fonts"
    if catalog.info(base).stored and name == f"{base}-generated":
        return "there", str(by_name(base, data_root(data_dir)).where)
    if name == catalog.info(base).made_server_data:
        return "there", "of a plug-in"
    return "there", str(by_path(expand(name, "server data")).where)


def _teacher(spec: str, base: str) -> tuple[State, str]:
    recipe = parse_teacher_spec(spec).recipe
    if isinstance(recipe, LitRecipe):
        return "made", f"tuned on the server data when it is first needed, {_tower(recipe.where)}"
    if recipe is not None:
        photographs = catalog.info(base).photographs and not towers.installed()
        better = f"; --teacher lit, a better one, takes {towers.EXTRA}" if photographs else ""
        return "made", f"trained on the server data when it is first needed{better}"
    from clipfed_bench.teacher.loading import check_weights

    return check_weights(spec)


def _tower(tower: towers.Tower) -> str:
    """Where a tower's weights are. Raises TeacherError where they cannot be had."""
    if tower.packaged:
        return f"on {towers.packaged_weights(tower).origin}"
    if tower.file is not None and not tower.file.is_file():
        raise TeacherError(f"tower '{tower.name}': there is no file '{tower.file}'.")
    return f"on {tower.file or f'{tower.name}, which timm finds or fetches'}"


def _folder(what: str, folder: Path, users: tuple[str, ...]) -> Need:
    there = _existing(folder)
    if not there.is_dir():
        return Need(what, "missing", f"{folder} cannot be made: {there} is a file; name another folder.", users)
    if os.access(there, os.W_OK | os.X_OK):
        return Need(what, "there" if folder.is_dir() else "made", str(folder), users)
    return Need(what, "missing", f"{there} cannot be written to; name another folder.", users)


def _disk(session: Session) -> Need:
    cells = session.todo
    warmups = {cell.warmup_key: cell.model for cell in cells if cell.warmup_rounds}
    models = list(warmups.values()) + [cell.model for cell in cells[: session.workers]] * 4
    wanted = _CELL * len(cells) + sum(_MODEL.get(str(model), max(_MODEL.values())) for model in models)
    there = _existing(session.places.folder)
    free = shutil.disk_usage(there).free
    text = f"{_size(wanted)} wanted, {_size(free)} free at {there}"
    return Need("disk space", "there" if free >= wanted else "missing", text, tuple(cell.key for cell in cells))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
