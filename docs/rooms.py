"""Draws docs/rooms.svg, the picture of architecture.md, from the imports in the code.

    python docs/rooms.py

A room is a folder or a module directly under ``clipfed_bench``, or a package beside it. It stands one floor above the
highest room that it imports from.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("clipfed_bench", "attacks", "baselines", "partitions", "architectures", "data_sets")
WIDTH, GAP, HEIGHT, LINE = 1080, 12, 84, 16
STYLE = """
  .room { fill: #eef2f8; stroke: #5b6b86; } .own { fill: #e9f4e6; } text { font-family: sans-serif; fill: #1d2738; }
  .name { font-size: 15px; font-weight: bold; } .what { font-size: 12px; }
"""


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name of each module of the product -> its file."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> set[str]:
    """The modules among ``known`` that the file at ``path`` imports from, anywhere in it, for types too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inside if inside <= known.keys() else {node.module, *inside}
    return {name for name in names if name in known}


def room(module: str) -> str:
    """``clipfed_bench.data.formats.find`` -> ``data``; ``attacks.blend`` -> ``attacks``."""
    parts = module.split(".")
    return parts[0] if parts[0] != "clipfed_bench" else ".".join(parts[1:2])


def arrows(root: Path = ROOT) -> dict[str, set[str]]:
    """Room -> the other rooms that it imports from. The package's own ``__init__`` and ``__main__`` are no rooms."""
    known = modules(root)
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        here = room(name)
        if here not in ("", "__main__"):
            found.setdefault(here, set()).update(room(other) for other in imported(path, known))
    return {here: {other for other in others if other not in ("", here)} for here, others in found.items()}


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Node -> its floor, from 1. Raises ValueError, naming them, where nodes import each other in a circle."""
    found: dict[str, int] = {}

    def climb(node: str, below: tuple[str, ...]) -> int:
        if node in below:
            raise ValueError("a circle: " + " -> ".join((*below[below.index(node) :], node)))
        if node not in found:
            found[node] = 1 + max((climb(other, (*below, node)) for other in sorted(graph[node])), default=0)
        return found[node]

    for node in graph:
        climb(node, ())
    return found


def summary(name: str, root: Path = ROOT) -> str:
    """The first sentence of what a room says of itself."""
    base = root if name in PACKAGES else root / "clipfed_bench"
    path = base / name / "__init__.py" if (base / name).is_dir() else base / f"{name}.py"
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".").replace("``", "")


def picture(root: Path = ROOT) -> str:
    """The SVG: a row of boxes for each floor, the highest on top."""
    placed = floors(arrows(root))
    top = max(placed.values())
    height = top * (HEIGHT + GAP) + GAP
    size = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="The rooms of the code"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>"]
    for floor in range(top, 0, -1):
        rooms = sorted(name for name, where in placed.items() if where == floor)
        width = (WIDTH - GAP * (len(rooms) + 1)) / len(rooms)
        for i, name in enumerate(rooms):
            x, y = GAP + i * (width + GAP), GAP + (top - floor) * (HEIGHT + GAP)
            lines += _box(name, summary(name, root), x, y, width)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _box(name: str, what: str, x: float, y: float, width: float) -> Iterator[str]:
    own = " own" if name in PACKAGES else ""
    yield f'<rect class="room{own}" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="6"/>'
    yield f'<text class="name" x="{x + 12:.0f}" y="{y + 22}">{escape(name)}</text>'
    for k, line in enumerate(wrap(what, int((width - 20) / 6.4))[:3]):
        yield f'<text class="what" x="{x + 12:.0f}" y="{y + 41 + LINE * k}">{escape(line)}</text>'


if __name__ == "__main__":
    (ROOT / "docs" / "rooms.svg").write_text(picture(), encoding="utf-8")
