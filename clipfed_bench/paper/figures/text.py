"""What figures say about their cells, so that a small run is not taken for the paper's."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import listed
from clipfed_bench.core.values import parse_choice
from clipfed_bench.data.catalog import info
from clipfed_bench.paper.figures.cells import values
from clipfed_bench.teacher.spec import parse_teacher_spec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = 8.0
"""Points of the title's text."""

TRAINING = ("model", "partition", "clients", "malicious", "attack", "target", "rounds", "seed", "teacher")
"""Settings that figures on the server's images do without."""

_DOT = " · "
_HARD_SPACE = "\u00a0"


def class_names(dataset: str) -> tuple[str, ...]:
    """The classes of a data set, as one reads them."""
    return tuple(name.replace("_", " ") for name in info(dataset).classes)


def setup(cells: Sequence[CellSpec], without: Iterable[str] = ()) -> str:
    """The settings of ``cells``: data set, model, partition, clients, rounds, attack, seeds, teacher, server data.

    ``without`` names those that the figure shows anyway. A setting with several values is given with all of them.
    """
    skipped = set(without)
    parts = (
        ("dataset", _dataset(cells)),
        ("model", f"model {_all(cells, 'model')}"),
        ("partition", _partition(cells)),
        ("clients", f"{_all(cells, 'clients')} clients, {_all(cells, 'clients_per_round')} a round"),
        ("malicious", "/".join(f"{100 * share:g}" for share in sorted(values(cells, "malicious"))) + " % malicious"),
        ("attack", _attack(cells)),
        ("target", _target(cells)),
        ("rounds", _rounds(cells)),
        ("seed", seeds_text(values(cells, "seed"))),
        ("teacher", _teacher(cells)),
        ("server_data", _server(cells)),
    )
    return _DOT.join(text for name, text in parts if text and name not in skipped)


def title(figure: Figure, head: str, *lines: str) -> None:
    """Put ``head`` and ``lines`` above the figure, wrapped to its width; what stands between dots is kept whole."""
    width = int(figure.get_figwidth() * 72 / (0.53 * SIZE))
    wrapped = []
    for line in (head, *lines):
        together = _DOT.join(part.replace(" ", _HARD_SPACE) for part in line.split(_DOT)) if _DOT in line else line
        rows = textwrap.wrap(together, width, break_on_hyphens=False)
        wrapped += [row.replace(_HARD_SPACE, " ").strip(_DOT) for row in rows]
    figure.suptitle("\n".join(wrapped), fontsize=SIZE)


def seeds_text(seeds: Iterable[int]) -> str:
    """``seed 0``, or ``seeds 0, 1, 2``."""
    every = sorted(set(seeds))
    return f"seed{'s' if len(every) > 1 else ''} {', '.join(map(str, every))}"


def spread_text(counts: Iterable[int], range_is: str) -> str:
    """What is drawn of the seeds, by the numbers of seeds behind each point; ``range_is`` bars or shaded."""
    counts = set(counts)
    if counts <= {1}:
        return "one seed a point, no spread"
    number = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts)}"
    return f"mean over {number} seeds; {range_is}: lowest to highest seed"


def missing_text(done: int, planned: int) -> str:
    """A sentence where not all cells are done."""
    return f" {planned - done} of {planned} cells are not done and left out." if done < planned else ""


def teacher_labels(specs: Iterable[str]) -> dict[str, str]:
    """Short names: ``open_clip:ViT-L-14/openai`` is ``ViT-L/14``; with tag or file where two would be the same."""
    specs = list(dict.fromkeys(specs))
    short = {spec: _short(spec) for spec in specs}
    names = list(short.values())
    return {spec: name if names.count(name) == 1 else f"{name} ({_detail(spec)})" for spec, name in short.items()}


def _short(spec: str) -> str:
    parsed = parse_teacher_spec(spec)
    if parsed.kind == "local":
        options = parse_choice(spec.strip())[1]
        return ", ".join(["local", *(f"{name.replace('_', ' ')} {value}" for name, value in options.items())])
    return re.sub(r"^ViT-([A-Za-z]+)-(\d+)", r"ViT-\1/\2", parsed.model)


def _detail(spec: str) -> str:
    parsed = parse_teacher_spec(spec)
    return parsed.tag or (Path(parsed.path).stem if parsed.path else spec)


def _all(cells: Sequence[CellSpec], name: str) -> str:
    return listed([cell.as_dict() for cell in cells], name)


def _dataset(cells: Sequence[CellSpec]) -> str:
    pairs = dict.fromkeys((cell.dataset, cell.imbalance_factor) for cell in cells)
    names = [name + (f" (imbalance factor {factor:g})" if factor else "") for name, factor in pairs]
    return f"data set {', '.join(names)}"


def _partition(cells: Sequence[CellSpec]) -> str:
    found = [f"{name} {_all(cells, name)}" for name in ("alpha", "degree") if _all(cells, name)]
    return ", ".join([*found, *(["IID"] if "iid" in values(cells, "partition") else [])])


def _attack(cells: Sequence[CellSpec]) -> str:
    scale, ratio = _all(cells, "attack_scale"), _all(cells, "poison_ratio")
    strength = [f"malicious updates × {scale}"] if scale != "1" else []
    strength += [f"poisoning ratio {ratio}"] if ratio != "1" else []
    return ", ".join([f"attack {_all(cells, 'attack')}", *strength])


def _target(cells: Sequence[CellSpec]) -> str:
    pairs = dict.fromkeys((cell.dataset, cell.target) for cell in cells)
    return "target class " + "/".join(dict.fromkeys(class_names(dataset)[target] for dataset, target in pairs))


def _rounds(cells: Sequence[CellSpec]) -> str:
    rounds, warmup = (sorted(values(cells, name)) for name in ("rounds", "warmup_rounds"))
    clean = f" after {'/'.join(map(str, warmup))} clean ones" if any(warmup) else ""
    return f"{'/'.join(map(str, rounds))} rounds{clean}"


def _teacher(cells: Sequence[CellSpec]) -> str:
    teachers = [cell.teacher for cell in cells if cell.teacher is not None]
    return f"teacher {'/'.join(teacher_labels(teachers).values())}" if teachers else ""


def _server(cells: Sequence[CellSpec]) -> str:
    given = [cell for cell in cells if cell.server_data is not None]
    if not given:
        return ""
    used = [cell for cell in given if cell.defense.component.needs_server_data]
    sizes = ["all" if size is None else str(size) for size in values(used, "server_per_class")]
    names = [
        f"{name} (real images, an upper bound)" if name.startswith("holdout:") else name
        for name in values(given, "server_data")
    ]
    return f"server data {'/'.join(names)}" + (f", {'/'.join(sizes)} a class" if sizes else "")
