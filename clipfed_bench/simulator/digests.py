"""Digests of everything that a cell is computed from: source, by what is imported, and inputs, by content. No torch.

A FedAvg cell has none of a teacher: only what a cell uses counts, each thing by itself.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from clipfed_bench.components.choice import Choice
from clipfed_bench.components.described import OF_CELL
from clipfed_bench.components.registry import choose
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.files import expand
from clipfed_bench.core.sources import Look, closure, current, digest, lines
from clipfed_bench.data.catalog import info
from clipfed_bench.data.contents import of_dataset, of_files, of_server_data
from clipfed_bench.teacher.lit_recipe import LitRecipe
from clipfed_bench.teacher.prompts import TEMPLATES
from clipfed_bench.teacher.spec import CONFIG, parse_teacher_spec
from clipfed_bench.teacher.towers import Tower, packaged_weights

_DATA, _SERVER, _TEACHER = "clipfed_bench.data.datasets", "clipfed_bench.data.server_set", "clipfed_bench.teacher"
_APART = (
    *(_DATA, _SERVER, _TEACHER),
    *("clipfed_bench.data.formats", "clipfed_bench.data.contents", "clipfed_bench.simulator.digests"),
)
"""Not the simulator, though imported by it: inputs, of which not all cells have all, and what only tells of them."""

Pixels = Callable[[CellSpec, Path | None], Mapping[str, str]]
"""Digests of the images of a cell's ``data`` and ``server_data``, for those that a plug-in makes."""


def ask_pixels(spec: CellSpec, data_dir: Path | None) -> Mapping[str, str]:
    """From another process, as it takes torch and the plug-in to know; nothing where that fails."""
    ask = "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    ask += "from clipfed_bench.simulator.shared import tell_pixels; tell_pixels(*sys.argv[2:])"
    given = [json.dumps(sys.path), json.dumps(spec.as_dict()), str(data_dir or "")]
    done = subprocess.run([sys.executable, "-c", ask, *given], capture_output=True, text=True, check=False)
    found: Mapping[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


class Digests:
    """What cells are computed from, as files are at one time; each is looked at once."""

    def __init__(self, data_dir: Path | None, look: Look = current, pixels: Pixels = ask_pixels) -> None:
        self._data_dir, self._look, self._pixels = data_dir, look, pixels
        self._known: dict[object, str | None] = {}
        self._simulator = closure(["clipfed_bench.execution.runner"], look, _APART)

    def of(self, spec: CellSpec) -> dict[str, str]:
        """Name (:data:`clipfed_bench.runs.digests.OF`) -> digest. What is not there, or damaged, has none."""
        found = {
            "simulator": self._once("simulator", lambda: digest(lines(self._simulator))),
            "model": self._once(spec.model, lambda: self._choice(spec.model)),
            "partition": self._once(spec.partition, lambda: self._choice(spec.partition)),
            "attack": self._once(spec.attack, lambda: self._choice(spec.attack)),
            "defense": self._once(spec.defense, lambda: self._choice(spec.defense)),
            "data": self._once(("data", spec.dataset), lambda: self._data(spec)),
        }
        if spec.warmup_rounds:
            found["warmup"] = self._once("warmup", lambda: self._choice(choose("defense", "fedavg")))
        if spec.server_data is not None:
            key = (spec.server_data, spec.dataset, spec.imbalance_factor, spec.evaluate, spec.server_per_class)
            found["server_data"] = self._once(key, lambda: self._server_data(spec))
        if spec.teacher is not None:
            teacher, templates = spec.teacher, spec.templates or "simple"
            found["teacher"] = self._once(("teacher", teacher), lambda: self._teacher(teacher))
            found["templates"] = self._once(("templates", templates), lambda: self._templates(templates))
        return {name: value for name, value in found.items() if value is not None}

    def _once(self, key: object, make: Callable[[], str | None]) -> str | None:
        if key not in self._known:
            try:
                self._known[key] = make()
            except UserError:
                self._known[key] = None
        return self._known[key]

    def _code(self, *modules: str, more: str = "") -> str:
        return digest([*lines(closure(modules, self._look), self._simulator), more])

    def _choice(self, choice: Choice) -> str:
        """Of its module and library, and of the attacks, defenses, files and folders that its options name."""
        from clipfed_bench.data.formats.search import walk  # imports numpy

        chosen = {str(choice): choice}
        for one in (waiting := [choice]):
            new = {str(other): other for other in _named(one) if str(other) not in chosen}
            chosen |= new
            waiting += new.values()
        places = sorted({place for one in chosen.values() for text in _texts(one) for place in _place(text)})
        files = [of_files(place, walk(place) if place.is_dir() else [place], self._look) for place in places]
        libraries = sorted({one.component.made_with for one in chosen.values()} - {""})
        return self._code(*(one.component.module for one in chosen.values()), more=" ".join([*files, *libraries]))

    def _templates(self, text: str) -> str:
        if text in TEMPLATES:
            return digest(TEMPLATES[text])
        path = expand(text, "templates")
        return of_files(path, [path], self._look)

    def _data(self, spec: CellSpec) -> str | None:
        known = info(spec.dataset)
        content = of_dataset(spec.dataset, self._data_dir, self._look)
        if content is None:
            content = self._pixels(spec, self._data_dir).get("data")
        own = [known.module] if known.module is not None else []
        return None if content is None else self._code(_DATA, *own, more=content)

    def _server_data(self, spec: CellSpec) -> str | None:
        assert spec.server_data is not None
        content = of_server_data(spec.server_data, spec.dataset, self._data_dir, self._look)
        if content is None:
            content = self._pixels(spec, self._data_dir).get("server_data")
        return None if content is None else self._code(f"{_SERVER}.load", more=content)

    def _teacher(self, text: str) -> str:
        """Of its code and its file; what a local one is trained on has a digest of its own, as server data."""
        parsed = parse_teacher_spec(text)
        if isinstance(parsed.recipe, LitRecipe):
            return self._code(f"{_TEACHER}.loading", f"{_TEACHER}.lit", more=self._tower(parsed.recipe.where))
        if parsed.path is None:
            return self._code(f"{_TEACHER}.loading")
        beside = (parsed.path.with_name(name) for name in (f"{parsed.model}.json", CONFIG))
        files = [parsed.path, *(path for path in beside if path.is_file())]
        return self._code(f"{_TEACHER}.loading", more=of_files(parsed.path.parent, files, self._look))

    def _tower(self, tower: Tower) -> str:
        path = packaged_weights(tower).path if tower.packaged else tower.file
        return tower.name if path is None else of_files(path, [path], self._look)


def _texts(choice: Choice) -> Iterator[str]:
    yield from (value for value in choice.values if isinstance(value, str) and len(value) < 1000)


def _place(text: str) -> Iterator[Path]:
    """The file or folder that ``text`` names, if it is the name of one and no more than a sign."""
    path = Path(text)
    with contextlib.suppress(OSError, ValueError):
        if path.name.strip(".") and path.exists() and (path.suffix or len(path.parts) > 1):
            yield path


def _named(choice: Choice) -> Iterator[Choice]:
    """The attacks and defenses that options of ``choice`` name, such as one whose trigger is borrowed."""
    for text in _texts(choice):
        for kind in OF_CELL:
            with contextlib.suppress(UserError):
                yield choose(kind, text)
