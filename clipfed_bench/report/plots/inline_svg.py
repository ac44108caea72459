"""Figures as SVG for a page: text as text, lines and letters in the page's own color, nothing from elsewhere."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clipfed_bench.core.figures import rendered
from clipfed_bench.report.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#010203"
"""Stands for the page's text color; no look has it."""
_INKED = (
    *("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "grid.color"),
    *("xtick.color", "ytick.color", "xtick.labelcolor", "ytick.labelcolor"),
)
_CLEAR = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
_KEPT = {"line", "path", "polygon", "rect", "use", "g", "defs", "clipPath", "pattern", "text", "tspan", "svg"}


@contextmanager
def drawing_inline() -> Iterator[None]:
    """Like :func:`~clipfed_bench.report.plots.style.drawing`, for figures that :func:`inline_svg` turns into SVG."""
    theme: dict[Any, Any] = dict.fromkeys(_INKED, _INK) | dict.fromkeys(_CLEAR, "none")
    with style.drawing():
        import matplotlib

        with matplotlib.rc_context(theme | {"grid.alpha": 0.13, "svg.fonttype": "none"}):
            yield


def inline_svg(figure: Figure, label: str, prefix: str) -> str:
    """An ``svg`` element to stand in HTML, called ``label``; its ids begin with ``prefix``, unlike those of others.

    Colors of series are CSS variables ``--s0``, ``--s1`` … in the order of
    :data:`~clipfed_bench.report.plots.style.COLORS`.
    """
    root = ET.fromstring(rendered(figure, "svg", metadata={"Creator": None}))
    box = root.attrib["viewBox"]
    _simplify(root)
    used = {name for node in root.iter() for item in node.attrib.items() for name in _references(*item)}
    names = {name: f"{prefix}{i}" for i, name in enumerate(sorted(used))}
    for node in root.iter():
        found = node.attrib.pop("id", None)
        if (fill := node.attrib.pop("fill", None)) is not None:  # an attribute cannot hold a variable
            node.set("style", f"fill: {fill}")
        node.attrib.update({key: _adapt(key, value, names) for key, value in node.attrib.items()})
        if found in names:
            node.set("id", names[found])
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": label, "class": "plot"})
    # What matplotlib asks for with a style sheet, which would hold for the whole page.
    root.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt"})
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _simplify(node: ET.Element) -> None:
    """Names without name spaces; no metadata and no style sheets."""
    node.tag = node.tag.rpartition("}")[2]
    node.attrib.update({key.rpartition("}")[2]: node.attrib.pop(key) for key in list(node.attrib)})
    node.tail = None
    if node.tag != "text":
        node.text = None
    for child in list(node):
        if child.tag.rpartition("}")[2] in _KEPT:
            _simplify(child)
        else:
            node.remove(child)


def _references(key: str, value: str) -> list[str]:
    return [value[1:]] if key == "href" else re.findall(r"url\(#([^)]+)\)", value)


def _adapt(key: str, value: str, names: dict[str, str]) -> str:
    if key == "href":
        return f"#{names[value[1:]]}"
    value = re.sub(r"font-family: [^;]+;? ?", "", value)  # the page's
    value = re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{names[found[1]]})", value)
    return re.sub(r"#[0-9a-fA-F]{6}\b", _color, value)


def _color(found: re.Match[str]) -> str:
    color = found[0].upper()
    if color == _INK.upper():
        return "currentColor"
    palette = [known.upper() for known in style.COLORS]
    return f"var(--s{palette.index(color)})" if color in palette else found[0]
