"""What figures say about their cells, so that a small run is not taken for the paper's."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import phrases
from clipfed_bench.core.values import parse_choice
from clipfed_bench.data.catalog import info
from clipfed_bench.teacher.spec import parse_teacher_spec

SIZE = 8.0
"""Points of the title's text."""

SERVER = ("dataset", "imbalance_factor", "server_data", "server_per_class")
"""Settings that figures on the server's images name."""

SETUP = (
    *("dataset", "imbalance_factor", "model", "partition", "alpha", "degree", "clients", "clients_per_round"),
    *("malicious", "attack", "attack_scale", "poison_ratio", "target", "warmup_rounds", "rounds", "seed", "teacher"),
    *("server_data", "server_per_class"),
)
"""Settings that all others name."""

_DOT = " · "
_HARD_SPACE = "\u00a0"


def class_names(dataset: str) -> tuple[str, ...]:
    """The classes of a data set, as one reads them."""
    return tuple(name.replace("_", " ") for name in info(dataset).classes)


def setup(cells: Sequence[CellSpec], names: Iterable[str] = SETUP, without: Collection[str] = ()) -> str:
    """The settings ``names`` of ``cells`` with all their values; ``without`` those that the figure shows anyway."""
    return _DOT.join(phrases([cell.as_dict() for cell in cells], [name for name in names if name not in without]))


def title(figure: Figure, head: str, *lines: str) -> None:
    """Put ``head`` and ``lines`` above the figure, wrapped to its width; what stands between dots is kept whole."""
    width = int(figure.get_figwidth() * 72 / (0.53 * SIZE))
    wrapped = []
    for line in (head, *lines):
        together = _DOT.join(part.replace(" ", _HARD_SPACE) for part in line.split(_DOT)) if _DOT in line else line
        rows = textwrap.wrap(together, width, break_on_hyphens=False)
        wrapped += [row.replace(_HARD_SPACE, " ").strip(_DOT) for row in rows]
    figure.suptitle("\n".join(wrapped), fontsize=SIZE)


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
    if parsed.trained:
        options = parse_choice(spec.strip())[1]
        return ", ".join([parsed.kind, *(f"{name.replace('_', ' ')} {value}" for name, value in options.items())])
    return re.sub(r"^ViT-([A-Za-z]+)-(\d+)", r"ViT-\1/\2", parsed.model)


def _detail(spec: str) -> str:
    parsed = parse_teacher_spec(spec)
    return parsed.tag or (Path(parsed.path).stem if parsed.path else spec)
